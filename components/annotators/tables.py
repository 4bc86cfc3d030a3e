"""Tables of the people who labelled: one attribute each, and what of it may be shown beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.annotators import disclosure
from components.annotators.disclosure import Table
from components.records import is_special

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from components.annotators.config import Settings
    from components.annotators.disclosure import Margin
    from components.records import Annotator

POOL, WORK = "pool.margins.", "work."
"""How the names of tables begin: as they do in the public report."""


def shown(pool: list[Annotator], settings: Settings) -> dict[str, Margin]:
    """All one-way tables of the pool, by name."""
    margins = {
        f"{POOL}{name}": Table([value_of(person, name) for person in pool], smallest(name, settings))
        for name in attributes(pool)
    }
    work = {f"{WORK}{name}": Table(values, settings.smallest_cell) for name, values in _work(pool).items()}
    return disclosure.together(margins | work)


def below(tables: Mapping[str, Margin], prefix: str) -> dict[str, Margin]:
    """The tables whose names begin so, by what follows."""
    return {name.removeprefix(prefix): table for name, table in tables.items() if name.startswith(prefix)}


def smallest(attribute: str, settings: Settings) -> int:
    """The fewest people in a cell of an attribute."""
    return settings.smallest_crossing if is_special(attribute) else settings.smallest_cell


def attributes(people: Iterable[Annotator]) -> list[str]:
    """What was recorded of anybody."""
    return sorted({attribute for person in people for attribute in person.demographics})


def value_of(person: Annotator | None, attribute: str) -> str:
    """What was recorded of a person."""
    return person.demographics.get(attribute, "not recorded") if person else "not recorded"


def as_shown(table: Margin) -> dict[str, Any]:
    """A table as documents show it, hidden cells by name."""
    cells = {value: "suppressed" if count is None else count for value, count in table.cells.items()}
    return {"cells": cells, "base": table.base, "k": table.k, "hidden": table.hidden}


def _work(pool: list[Annotator]) -> dict[str, list[str]]:
    """Under which conditions: platform, pay, lawful basis, guidelines trained on."""
    return {
        "platform": [person.platform or "not recorded" for person in pool],
        "pay_band": [person.pay_band or "not recorded" for person in pool],
        "lawful_basis": [person.lawful_basis or "not recorded" for person in pool],
        "guidelines": [", ".join(sorted(person.guidelines)) or "not recorded" for person in pool],
    }
