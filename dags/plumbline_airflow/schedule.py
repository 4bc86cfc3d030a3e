"""When `align` starts by itself: at times, when the base model changed, when the preference data changed, or never.

    PLUMBLINE_SCHEDULE     cron expression, UTC
    PLUMBLINE_WATCH_BASE   folder:PATH, hub:ORGANISATION/NAME or mlflow:MODEL@ALIAS
    PLUMBLINE_WATCH_DATA   file:PATH, usually of data.dvc

Any of them, or several. One run is at work at a time; what changes meanwhile starts one more after it.
"""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable

from plumbline_airflow.triggers import SECONDS, VersionTrigger

WATCHED = {"base-model-source": "PLUMBLINE_WATCH_BASE", "preference-data": "PLUMBLINE_WATCH_DATA"}


def schedule() -> Any:
    """What Airflow takes as `schedule`."""
    cron = os.environ.get("PLUMBLINE_SCHEDULE", "")
    assets = [_watched(name, os.environ[variable]) for name, variable in WATCHED.items() if os.environ.get(variable)]
    changed: Any = assets[0] if len(assets) == 1 else assets[0] | assets[1] if assets else None
    if cron and assets:
        return AssetOrTimeSchedule(timetable=CronTriggerTimetable(cron, timezone="UTC"), assets=changed)
    return changed or (CronTriggerTimetable(cron, timezone="UTC") if cron else None)


def _watched(name: str, place: str) -> Asset:
    seconds = float(os.environ.get("PLUMBLINE_WATCH_SECONDS", SECONDS))
    return Asset(name, uri=f"plumbline://{name}", watchers=[AssetWatcher(name, trigger=VersionTrigger(place, seconds))])
