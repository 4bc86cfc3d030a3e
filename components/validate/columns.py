"""What suites need of accepted records, column by column: choices, numbers and lengths in the place of texts.

Choices are kept as codes and numbers as numbers, so that a million comparisons take about 150 MB, not one thousand.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from components import records

if TYPE_CHECKING:
    from collections.abc import Iterator

IDS = frozenset({"id", "pseudonym"})
"""Fields whose values don't repeat."""
CHOICES = frozenset(
    {"prompt_id", "kind", "split", "label", "better", "annotator", "guideline", "source", "platform", "lawful_basis"}
)
"""Fields of text whose values do."""
NUMBERS = frozenset({"seconds_taken", "strength", "margin"})
UNUSED_BITS = 64 - 53
"""Of a digest of eight bytes: a float has 53."""
MISSING = -1
"""Code of a choice that was not made."""


class Choices:
    """Texts that repeat."""

    def __init__(self) -> None:
        self._codes = array("i")
        self._values: dict[str, int] = {}

    def append(self, value: str | None) -> None:
        """Take a value."""
        self._codes.append(MISSING if value is None else self._values.setdefault(value, len(self._values)))

    def counts(self) -> dict[str, int]:
        """Value → rows, sorted; rows without a value are not counted."""
        found = Counter(self._codes)
        return {value: found[code] for value, code in sorted(self._values.items())}

    def series(self) -> Any:
        """As a column of a data frame."""
        import pandas as pd  # noqa: PLC0415  (1 s import, once all rows are judged)

        return pd.Categorical.from_codes(np.frombuffer(self._codes, np.int32), pd.Index(list(self._values)))


class Numbers:
    """Numbers; NaN where there is none."""

    def __init__(self) -> None:
        self._values = array("d")

    def append(self, value: float | None) -> None:
        """Take a value."""
        self._values.append(math.nan if value is None else value)

    def series(self) -> Any:
        """As a column of a data frame."""
        return np.frombuffer(self._values)


class Names:
    """Texts that don't repeat."""

    def __init__(self) -> None:
        self._values: list[str] = []

    def append(self, value: str) -> None:
        """Take a value."""
        self._values.append(value)

    def series(self) -> Any:
        """As a column of a data frame."""
        return self._values


class Columns:
    """The columns of one table."""

    def __init__(self, table: str) -> None:
        """No row yet."""
        fields = records.TABLES[table].model_fields
        self._fields = [name for name in fields if name in IDS | CHOICES | NUMBERS]
        self._columns: dict[str, Choices | Numbers | Names] = {}

    def append(self, record: Any, **more: float | None) -> None:
        """Take a record, and what else is known of it."""
        values = {name: getattr(record, name) for name in self._fields}
        values.update(_measured(record), **more)
        if not self._columns:
            self._columns = {name: _column(name) for name in values}
        for name, value in values.items():
            self._columns[name].append(value)

    def counts(self, name: str) -> dict[str, int]:
        """Value → rows of a column of choices; empty where there is no row."""
        column = self._columns.get(name)
        return column.counts() if isinstance(column, Choices) else {}

    def frame(self) -> Any:
        """As a data frame."""
        import pandas as pd  # noqa: PLC0415  (1 s import, once all rows are judged)

        return pd.DataFrame({name: column.series() for name, column in self._columns.items()}, copy=False)


def _column(name: str) -> Choices | Numbers | Names:
    if name in IDS:
        return Names()
    return Choices() if name in CHOICES else Numbers()


def _known_by(*texts: str) -> int:
    """A digest of texts as a number that a float holds exactly: of a million, two agree by chance once in 18,000 tables."""
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> UNUSED_BITS


def _measured(record: Any) -> Iterator[tuple[str, float | None]]:
    """Lengths, digests of what may repeat, and for judgements which place won."""
    if isinstance(record, records.Comparison | records.GoldenPair):
        first, second = record.responses
        yield "first_characters", len(first)
        yield "second_characters", len(second)
        yield "pair", _known_by(record.prompt_id, *sorted(record.responses))
        said = record.label if isinstance(record, records.Comparison) else record.better
        yield "is_tie", said == "tie"
        yield "is_first", None if said == "tie" else said == "first"
    elif isinstance(record, records.Text):
        yield "characters", len(record.text)
    elif isinstance(record, records.Prompt | records.Demonstration):
        yield "dialogue", _known_by(*(message.content for message in record.messages))
        yield "turns", len(record.messages)
        yield "last_characters", len(record.messages[-1].content)
