"""Who labelled what the reward model was trained on, beside the tables of all who labelled, as far as that may be shown."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components import disclosure, representativeness, shown
from components.contributors import are_several
from components.reward import parts
from components.reward.parts import Known
from components.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from components.context import Context
    from components.pairs import Pair
    from components.records import Comparison

GAP = "trained_on"
TOGETHER = "all other values"
"""The row of what has none of its own."""
WORK = "work."
MARGINS = "pool.margins."


@dataclass(frozen=True)
class Pool:
    """All who labelled, as `annotators` hands them over."""

    people: Mapping[str, Mapping[str, str] | None]
    """Pseudonym → key → digest of what tables count of the person, see components/shown.py; None where nothing is recorded."""
    keys: Sequence[str]
    """By which there are digests, the one to keep last."""
    tables: Mapping[str, Known]
    """That the pool's record shows."""
    target: Mapping[str, Mapping[str, float]]
    k: int


def trained_by(labels: Iterable[Comparison], pairs: Iterable[Pair]) -> Counter[str]:
    """Annotator → labels, of those labels that some pairs are made of."""
    wanted = {(pair.prompt.id, pair.responses) for pair in pairs}
    given = (label for label in labels if (label.prompt_id, tuple(sorted(label.responses))) in wanted)
    return Counter(label.annotator for label in given if label.annotator is not None)


def measure(context: Context[Any], given: Mapping[str, int]) -> None:
    """Record whose labels trained the model, and keep what that gives away for the versions that come.

    Args:
        context: The step's.
        given: Annotator → labels that it was trained on.
    """
    pool = _pool(context)
    before = [each for folder in context.earlier for each in shown.read(_json(folder / shown.FILE))]
    context.fact("trained_on_compared_with", len(context.earlier))
    if not given:
        context.gap(GAP, "the source does not say who gave the labels that trained it")
    elif not pool.tables:
        context.gap(GAP, "the audit shows no table of all who labelled, and these would tell of whom it is")
    else:
        reason = _too_close(pool, given, before)
        if reason:
            context.gap(GAP, reason)
        else:
            _keep(context, _record(context, pool, given, before))
            return
    _keep(context, [])


def _pool(context: Context[Any]) -> Pool:
    path = context.inputs["label_weights"] / "tables.json"
    if not path.is_file():  # of a run of `annotators` from before it wrote them
        return Pool({}, [""], {}, {}, disclosure.SMALLEST)
    handed = _json(path)
    tables = {name: Known(table["values"], table["k"], frozenset(table["hidden"])) for name, table in handed["tables"].items()}
    return Pool(handed["people"], handed["keys"], tables, handed["target"], handed["k"])


def _sides(pool: Pool, given: Mapping[str, int]) -> list[dict[str, list[str]]]:
    """Key → digests: of those whose labels trained it, of the others, of all."""
    chosen = [[who for who in pool.people if who in given], [who for who in pool.people if who not in given], [*pool.people]]
    digests = ([one for who in side if (one := pool.people[who])] for side in chosen)
    return [shown.by_key(side, pool.keys) for side in digests]


def _too_close(pool: Pool, given: Mapping[str, int], before: Sequence[Shown]) -> str:
    """Why nothing may be shown beside earlier versions: they could be subtracted from this one, or their pools."""
    k = max(table.k for table in pool.tables.values())
    some, others, _ = _sides(pool, given)
    return shown.too_close(some, before, k=k) or shown.too_close(others, before, k=k)


def _record(context: Context[Any], pool: Pool, given: Mapping[str, int], before: Sequence[Shown]) -> list[Shown]:
    """State who trained the model; what that shows, and of whom."""
    is_some = [who in given for who in pool.people]
    rows = parts.rows(pool.tables, is_some)
    patterns = {
        f"{GAP}.{name}": {value: value in rows[name] for value in sorted(set(table.values))}
        for name, table in pool.tables.items()
    }
    left_out = shown.changed(patterns, before)
    for name in left_out:
        context.gap(name, shown.LEFT_OUT)
    shows = {name: table for name, table in pool.tables.items() if rows[name] and f"{GAP}.{name}" not in left_out}
    silent = sorted(name for name in pool.tables if not rows[name])
    if silent:
        text = "no value has enough people both among those whose labels trained it and among the others, to be told apart: "
        context.gap(f"{GAP}_tables", text + ", ".join(map(_title, silent)))
    context.fact(GAP, _facts(pool, given, {name: (table, rows[name]) for name, table in shows.items()}))
    some, others, everybody = (side[pool.keys[-1]] for side in _sides(pool, given))
    kept = {name: cells for name, cells in patterns.items() if name not in left_out}
    key = pool.keys[-1]
    return [Shown(some, kept, GAP, key), Shown(others, {}, "others", key), Shown(everybody, key=key)]


def _facts(pool: Pool, given: Mapping[str, int], shows: Mapping[str, tuple[Known, list[str]]]) -> dict[str, Any]:
    is_some = [who in given for who in pool.people]
    labels = [given.get(who, 0) for who in pool.people]
    people = sum(is_some)
    tables = {name: _table(*entry, is_some, labels) for name, entry in shows.items()}
    shares = {
        _title(name): representativeness.of(tables[name]["cells"], people, k=table.k, target=pool.target.get(_title(name), {}))
        for name, (table, _) in shows.items()
        if name.startswith(MARGINS)
    }
    digests = _sides(pool, given)[0][pool.keys[-1]]
    return {
        "people_rounded_down": disclosure.rounded_down(people, k=pool.k),
        "snapshot": f"sha256:{hashlib.sha256(chr(10).join(digests).encode()).hexdigest()}",
        "margins": {_title(name): table for name, table in tables.items() if name.startswith(MARGINS)},
        "work": {_title(name): table for name, table in tables.items() if name.startswith(WORK)},
        "representativeness": shares,
    }


def _table(table: Known, own: Sequence[str], is_some: Sequence[bool], labels: Sequence[int]) -> dict[str, Any]:
    """People by value, and the share of the labels that they gave, where it is nobody's own."""
    counts, people = table.of(is_some), sum(is_some)
    row = {value: value if value in own else TOGETHER for value in set(table.values)}
    cells = {value: counts[value] for value in own}
    if len(own) < len(row):
        cells[TOGETHER] = people - sum(cells.values())
    given = {name: [n for n, value in zip(labels, table.values, strict=True) if row[value] == name] for name in cells}
    found: dict[str, Any] = {
        "cells": cells,
        "base": disclosure.rounded_down(people, k=table.k),
        "k": table.k,
        "together": len(row) - len(own),
    }
    if all(are_several(each, k=table.k) for each in given.values()):
        found["labels"] = {name: disclosure.rate(sum(each) / sum(labels), people, k=table.k) for name, each in given.items()}
    return found


def _title(name: str) -> str:
    return name.removeprefix(MARGINS).removeprefix(WORK)


def _keep(context: Context[Any], kept: Sequence[Shown]) -> None:
    text = json.dumps([each.to_json() for each in kept], indent=1, sort_keys=True) + "\n"
    (context.output("shown_contributors") / shown.FILE).write_text(text, encoding="utf-8")


def _json(path: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
