"""What every runtime hands to a step: its argument vector and its environment. Parameters travel as JSON, never in a shell.

Only the variables named here reach a step; Airflow's own, with its secrets, stay behind.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from components.catalog import STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

MACHINE = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
"""Of the machine that a process runs on; containers and pods have their own."""
PASSED = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "OMP_NUM_THREADS",
    "PLUMBLINE_ARTIFACTS",
    "PLUMBLINE_COMMIT",
    "PLUMBLINE_DATA_ROOT",
    "PLUMBLINE_GATEWAY",
    "PLUMBLINE_IDENTITY_KEY",
    "PLUMBLINE_IMAGE_DIGEST",
    "PLUMBLINE_KEYS",
    "PLUMBLINE_MLFLOW_UI",
    "PLUMBLINE_RELEASES",
    "PLUMBLINE_SCRATCH",
    "PLUMBLINE_WARM",
)
"""Where things are. What is trained is in the params, and travels with `start` alone."""

PLACES = (
    "PLUMBLINE_ARTIFACTS",
    "PLUMBLINE_COMMIT",
    "PLUMBLINE_DATA_ROOT",
    "PLUMBLINE_IMAGE_DIGEST",
    "PLUMBLINE_KEYS",
    "PLUMBLINE_RELEASES",
    "PLUMBLINE_SCRATCH",
    "PLUMBLINE_WARM",
)
"""Paths of this machine, and facts of this machine's code. An image has its own."""
REVIEWS = ("review", "second_review")
"""Tasks at which a person answers."""
SECRETS = ("HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_USERNAME", "PLUMBLINE_IDENTITY_KEY")
"""Handed over where nothing prints them: neither in rendered templates nor in a pod's specification."""
OWN = {"HF_TOKEN": "base", "PLUMBLINE_IDENTITY_KEY": "annotators"}
"""Secret → the one step that needs it: a gated base model is fetched with the token, digests of people made with the key."""


def pipeline_run(context: Mapping[str, Any]) -> str:
    """Id of the pipeline run that a task belongs to.

    Raises:
        AirflowFailException: A release was triggered by hand without naming a candidate.
    """
    if context["dag"].dag_id != "release":
        return str(context["dag_run"].run_id)
    named = context["params"].get("pipeline_run") or _from_event(context)
    if not named:
        message = "No candidate: set the param `pipeline_run` to the id of an align run that finished."
        raise AirflowFailException(message)
    return str(named)


def candidate(context: Mapping[str, Any]) -> dict[str, Any]:
    """What the newest candidate's event says: `pipeline_run`, `pack` (its digest), `summary` and `rule`. Empty by hand.

    Anybody who may post asset events can write one, so it decides nothing: `approve` and `deploy` look for themselves.
    """
    events = (context.get("triggering_asset_events") or {}).values()
    found = sorted((event for group in events for event in group), key=lambda event: event.timestamp)
    return dict(found[-1].extra) if found else {}


def two_approvers(context: Mapping[str, Any]) -> bool:
    """Whether to ask a second person: as the candidate's rule says, or whoever started the release by hand."""
    rule = candidate(context).get("rule") or {}
    return bool(rule.get("two_approvers") or context["params"].get("two_approvers"))


def command(step: str, run: str, *, processes: int = 1) -> list[str]:
    """The command of a step in an image; by torchrun (components/spread.py) where it is to work as several processes."""
    module = ["-m", f"components.{step}", "--pipeline-run", run]
    if processes == 1:
        return ["python", *module]
    return ["python", "-m", "components.spread", "--standalone", f"--nproc-per-node={processes}", *module]


def argv(step: str, run: str) -> list[str]:
    """The command of a step, for a process on this machine."""
    if os.environ.get("PLUMBLINE_WARM"):
        return [sys.executable, "-m", "components.warmstart", step, "--pipeline-run", run]
    return [sys.executable, "-m", f"components.{step}", "--pipeline-run", run]


def environment(step: str, context: Mapping[str, Any]) -> dict[str, str]:
    """The variables a step gets from Airflow."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ and OWN.get(name, step) == step}
    return passed | {name: json.dumps(value, default=str) for name, value in _external(step, context).items()}


def contained(step: str, context: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a step in a container: as `environment`, with the container's own places, and without secrets."""
    own = environment(step, context)
    return {name: value for name, value in own.items() if name not in PLACES and name not in SECRETS}


def secrets(step: str) -> dict[str, str]:
    """The secrets that a step is given as variables."""
    return {name: os.environ[name] for name in SECRETS if name in os.environ and OWN.get(name, step) == step}


def needs(step: str) -> dict[str, bool]:
    """The places that a step's container is given, and whether it may only read there."""
    entry = STEPS[step]
    wanted = {"scratch": False, "keys": True}
    if {"data_version", "base_version"} & {*entry.reads, *entry.writes}:
        wanted["data"] = True
    if "release" in entry.writes:
        wanted["releases"] = False
    return wanted


def machine() -> dict[str, str]:
    """The variables a process gets from the machine, and when it was asked for."""
    kept = {name: os.environ[name] for name in MACHINE if name in os.environ}
    return kept | {"PLUMBLINE_SPAWNED_AT": str(time.time())}


def _external(step: str, context: Mapping[str, Any]) -> dict[str, Any]:
    run = context["dag_run"]
    if step == "start":
        # The form's fields, and what else came with the trigger: `start` refuses what it does not know.
        given = dict(context["params"]) | dict(run.conf or {})
        params = {name: value for name, value in given.items() if value is not None} | _moved(context)
        kind = str(getattr(run.run_type, "value", run.run_type))
        trigger = {"type": kind, "by": triggered_by(run), "dag_run": run.run_id, "events": _events(context)}
        return {"PLUMBLINE_PARAMS": params, "PLUMBLINE_TRIGGER": trigger}
    if step == "approve":
        return {"PLUMBLINE_ANSWER": _answers(context)}
    return {}


def _answers(context: Mapping[str, Any]) -> dict[str, Any]:
    """What the reviews left, still sealed; `approve` opens it."""
    left = {task: context["ti"].xcom_pull(task_ids=task, key="answer") or {} for task in REVIEWS}
    return {"dag_run": context["dag_run"].run_id, "sealed": left}


def _moved(context: Mapping[str, Any]) -> dict[str, Any]:
    """The revision of the base model that an event named, where one of a hub repository started this run."""
    changes = [event["extra"].get("payload") or {} for event in _events(context)]
    commits = [change["version"] for change in changes if str(change.get("place") or "").startswith("hub:")]
    return {"base.revision": commits[-1]} if commits else {}


def triggered_by(run: Any) -> str | None:
    """Who triggered the run; with `make run`, which Airflow calls "dag_test", the person at the terminal."""
    name = getattr(run, "triggering_user_name", None)
    return getpass.getuser() if name == "dag_test" else name


def _from_event(context: Mapping[str, Any]) -> str:
    return str(candidate(context).get("pipeline_run") or "")


def _events(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What started the run, oldest first."""
    found = context.get("triggering_asset_events") or {}
    events = [
        {"asset": asset.name, "at": event.timestamp.isoformat(), "extra": dict(event.extra)}
        for asset, group in found.items()
        for event in group
    ]
    return sorted(events, key=lambda event: event["at"])
