"""The request log: one JSON object a line, one file a day, kept for so many days and no longer.

Who asked (as the gateway's keys name callers), when, which version answered, how it went. What was said is left out unless
PLUMBLINE_JOURNAL_CONTENT is `1`: it may be personal data.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

DAYS = 183
"""Six months: the shortest time for which Article 26(6) of the EU AI Act has deployers keep the logs of high-risk systems."""
PREFIX = "requests-"


class Journal:
    """Appends to today's file; removes files that are too old whenever a day begins."""

    def __init__(self, folder: Path, *, days: int = DAYS, content: bool = False) -> None:
        self.folder, self.days, self.content = folder, days, content
        self._day: date | None = None

    def write(self, entry: dict[str, Any], *, said: dict[str, Any]) -> None:
        """Append an entry; `said` only where content is kept."""
        now = datetime.now(UTC)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if now.date() != self._day:
            self._day = now.date()
            self.forget(now.date())
        line = {"at": now.isoformat(timespec="milliseconds"), **entry, **(said if self.content else {})}
        path = self.folder / f"{PREFIX}{now.date().isoformat()}.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def forget(self, today: date) -> None:
        """Remove the files of days that are longer ago than is kept."""
        oldest = today - timedelta(days=self.days)
        for path in self.folder.glob(f"{PREFIX}*.jsonl"):
            try:
                day = date.fromisoformat(path.stem.removeprefix(PREFIX))
            except ValueError:
                continue
            if day < oldest:
                path.unlink()
