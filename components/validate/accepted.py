"""Accepted records, one table each: written as they come, with only what later checks need kept in memory."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from components.validate.columns import Columns

if TYPE_CHECKING:
    from pathlib import Path

    from components.records import Record
    from components.validate.findings import Personal


class Accepted:
    """A table under way. Used like a list that takes records and knows how many it took."""

    def __init__(self, table: str, path: Path, seen: Personal) -> None:
        """Write to `path`, and show each record to whoever looks for personal data."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.columns = Columns(table)
        self._file: IO[bytes] = path.open("wb")
        self._table, self._seen = table, seen
        self._count = 0

    def append(self, record: Record) -> None:
        """Take a record."""
        self._file.write(record.model_dump_json().encode() + b"\n")
        self.columns.append(record, has_personal_data=self._seen.look(self._table, record))
        self._count += 1

    def close(self) -> None:
        """No more records come."""
        self._file.close()

    def __len__(self) -> int:
        return self._count
