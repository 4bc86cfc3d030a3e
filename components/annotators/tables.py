"""Tables of the people who labelled: what they are, how they work, what the audit found; and what each may show."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from components import disclosure
from components.annotators.findings import KINDS
from components.disclosure import Table
from components.records import is_special

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from components.annotators.audit import Audit
    from components.annotators.config import Settings
    from components.annotators.labels import Labels
    from components.disclosure import Margin
    from components.records import Annotator

POOL, WORK, EXCLUSIONS = "pool.margins.", "work.", "exclusions."
"""How the names of tables begin: as they do in the public report."""
RELIABILITY, BY_KIND = "reliability", f"{EXCLUSIONS}proposed_by_kind"
STEPS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BINS = (*(f"{low:.1f} to {high:.1f}" for low, high in itertools.pairwise(STEPS)), "not judged")
"""Annotators by accuracy; those of whom too little is known apart."""
NOT_RECORDED, NOT_PROPOSED = "not recorded", "not proposed"
YES, NO = "yes", "no"


def shown(
    labels: Labels, found: Audit, people: Mapping[str, Annotator], settings: Settings, decided: Collection[str]
) -> dict[str, Margin]:
    """All one-way tables of those who labelled, by name.

    Args:
        labels: All labels.
        found: The audit.
        people: Pseudonym → record.
        settings: The step's.
        decided: Pseudonyms about whom a person decided.
    """
    found_of_them = _findings(labels, found, decided, settings.smallest_cell)
    return disclosure.together(of_people(labels, people, settings) | found_of_them)


def of_people(labels: Labels, people: Mapping[str, Annotator], settings: Settings) -> dict[str, Table]:
    """What those who labelled are and how they work, before anything is hidden."""
    pool = [people.get(name) for name in labels.annotators]
    traits = {
        f"{POOL}{name}": Table([value_of(person, name) for person in pool], _smallest(name, settings))
        for name in sorted({attribute for person in pool if person for attribute in person.demographics})
    }
    work = {f"{WORK}{name}": Table(values, settings.smallest_cell) for name, values in _work(pool).items()}
    return traits | work


def handed_over(unhidden: Mapping[str, Table], margins: Mapping[str, Margin]) -> dict[str, Any]:
    """Tables with everybody's value, and which of their cells are hidden: so that `reward` can count those it trained on."""
    return {
        name: {
            "values": list(table.values),
            "k": table.k,
            "hidden": [value for value, count in margins[name].cells.items() if count is None],
        }
        for name, table in unhidden.items()
    }


def value_of(person: Annotator | None, attribute: str) -> str:
    """What was recorded of a person."""
    return person.demographics.get(attribute, NOT_RECORDED) if person else NOT_RECORDED


def below(tables: Mapping[str, Margin], prefix: str) -> dict[str, Margin]:
    """The tables whose names begin so, by what follows."""
    return {name.removeprefix(prefix): table for name, table in tables.items() if name.startswith(prefix)}


def counted(tables: Mapping[str, Margin], finding: str) -> int | None:
    """How many people were `proposed`, `excluded` or `decided` about; None where that is hidden."""
    return tables[f"{EXCLUSIONS}{finding}"].cells[YES]


def as_shown(table: Margin) -> dict[str, Any]:
    """A table as documents show it, with what was hidden how."""
    return {"cells": cells(table)} | about(table)


def cells(table: Margin) -> dict[str, int | str]:
    """Value → people as documents show them."""
    return {value: said(count) for value, count in table.cells.items()}


def said(count: int | None) -> int | str:
    """A count as documents show it."""
    return "suppressed" if count is None else count


def about(table: Margin) -> dict[str, int]:
    """How many people a table is of, rounded down, the fewest in a cell that shows, and how many cells are hidden."""
    return {"base": table.base, "k": table.k, "hidden": table.hidden}


def _smallest(attribute: str, settings: Settings) -> int:
    return settings.smallest_crossing if is_special(attribute) else settings.smallest_cell


def _work(pool: Iterable[Annotator | None]) -> dict[str, list[str]]:
    """Under which conditions: platform, pay, lawful basis, guidelines trained on; people or models, where there are both."""
    known = [
        (person.platform, person.pay_band, person.lawful_basis, ", ".join(sorted(person.guidelines)), person.kind)
        if person
        else (None,) * 5
        for person in pool
    ]
    names = ("platform", "pay_band", "lawful_basis", "guidelines", "kind")
    tables = {name: [row[column] or NOT_RECORDED for row in known] for column, name in enumerate(names)}
    return {name: values for name, values in tables.items() if name != "kind" or len(set(values)) > 1}


def _findings(labels: Labels, found: Audit, decided: Collection[str], k: int) -> dict[str, Table]:
    """What the audit found of people, and what followed."""
    kinds = {proposal.annotator: proposal.kind for proposal in found.proposals}
    is_judged = ~np.isnan(found.checks["accuracy"].statistic)
    steps = np.where(is_judged, np.searchsorted(STEPS[1:-1], found.accuracy.value, side="right"), len(BINS) - 1)
    everybody = range(len(labels.annotators))
    named = {
        "proposed": set(kinds),
        "excluded": set(found.excluded),
        "decided": {row for row in everybody if labels.annotators[row] in decided},
    }
    tables = {
        RELIABILITY: Table([BINS[step] for step in steps.tolist()], k, BINS, is_finding=True),
        BY_KIND: Table([kinds.get(row, NOT_PROPOSED) for row in everybody], k, (*KINDS, NOT_PROPOSED), is_finding=True),
    }
    return tables | {
        f"{EXCLUSIONS}{name}": Table([YES if row in those else NO for row in everybody], k, (YES, NO), is_finding=True)
        for name, those in named.items()
    }
