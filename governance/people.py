"""Names of facts about the people who labelled, arranged for the annotator-demographic record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from governance.views import NEWEST, Row
from governance.words import Words

if TYPE_CHECKING:
    from governance.facts import Facts

TOGETHER = "all other values"
"""The row that values share which have none of their own; it comes last."""
COLUMNS = ("People", "Share, rounded", "Declared target", "Standardised difference", "Share of the labels, rounded")
"""Columns of a table of people."""


@dataclass(frozen=True)
class MarginTable:
    """People by the values of one attribute."""

    title: Words
    rows: list[Row]
    """Cells: count, share, target share, standardised difference, share of the labels."""
    about: str
    """What the names of its base, of the fewest people in a cell that shows, and of the number of hidden cells begin with."""
    columns: list[tuple[Words, int]]
    """Titles of the cells that some row has, with their place."""


def margins(facts: Facts, prefix: str, compared: str = "annotators.facts.representativeness") -> list[MarginTable]:
    """One-way tables below a prefix; `compared`: what the names of the comparisons with the target population begin with."""
    found = []
    for attribute in facts.children(prefix):
        values = sorted(facts.children(f"{prefix}.{attribute}.cells"), key=lambda value: value == TOGETHER)
        about = f"{compared}.{attribute}"
        rows = [
            Row(
                Words(unquote(value)),
                [f"{prefix}.{attribute}.cells.{value}"]
                + [f"{about}.{value}.{part}" for part in ("share", "target", "difference")]
                + [f"{prefix}.{attribute}.labels.{value}"],
            )
            for value in values
        ]
        columns = [
            (Words(title), place) for place, title in enumerate(COLUMNS) if any(row.cells[place] in facts for row in rows)
        ]
        title = Words(unquote(attribute).replace("_", " ").capitalize())
        found.append(MarginTable(title, rows, f"{prefix}.{attribute}", columns))
    return found


def about_work() -> list[str]:
    """Declarations about the people who labelled."""
    names = ("recruitment", "notice", "consent", "withdrawal", "protection")
    return [f"system.annotator_{name}" for name in names]


def exports(facts: Facts) -> list[str]:
    """Prefixes of the newest entries of the log of exports, in their order; release.json holds all."""
    return [f"release.exports.{place}" for place in facts.children("release.exports")][-NEWEST:]
