"""Accepted records, one table each: written as they come, with only what later checks need kept in memory."""

from __future__ import annotations

import json
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from components.records import Record

KEPT_APART = ("id", "labelled_at")
"""Columns whose values hardly repeat; the others' equal texts are kept once."""


class Accepted:
    """A table under way. Used like a list that takes records and knows how many it took."""

    def __init__(self, path: Path, *seen_by: Callable[[Record], None]) -> None:
        """Write to `path`; whoever is in `seen_by` is shown each record."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="\n")
        self._seen_by = seen_by
        self.columns: dict[str, list[Any]] = {}
        """Of the data frame that suites check: see `row`."""
        self._count = 0

    def append(self, record: Record) -> None:
        """Take a record."""
        whole = record.model_dump(mode="json")
        self._file.write(json.dumps(whole, ensure_ascii=False, sort_keys=True) + "\n")
        for name, value in row(whole).items():
            kept = sys.intern(value) if isinstance(value, str) and name not in KEPT_APART else value
            self.columns.setdefault(name, []).append(kept)
        for look in self._seen_by:
            look(record)
        self._count += 1

    def close(self) -> None:
        """No more records come."""
        self._file.close()

    def __len__(self) -> int:
        return self._count


def row(whole: dict[str, Any]) -> dict[str, Any]:
    """A record, as JSON has it, as a row of a data frame, with lengths in the place of texts. `whole` is used up."""
    if "responses" in whole:
        whole["first_characters"], whole["second_characters"] = (len(text) for text in whole.pop("responses"))
    if "messages" in whole:
        whole["turns"] = len(whole["messages"])
        whole["last_characters"] = len(whole.pop("messages")[-1]["content"])
    if "text" in whole:
        whole["characters"] = len(whole.pop("text"))
    return {
        name: json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value for name, value in whole.items()
    }
