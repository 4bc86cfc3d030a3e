"""What the audit says: everything about everybody (private), and what documents may show (public).

The private report names pseudonyms and is for those who may act on it. The public one holds counts, shares and intervals of
groups that are large enough, by the rules in disclosure.py; it becomes facts of the evidence, and so of documents.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from components import disclosure, representativeness
from components.annotators import tables
from components.annotators.accuracy import wilson
from components.annotators.agreement import alpha
from components.annotators.labels import TIE
from components.annotators.pool import tastes
from components.contributors import are_several

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from components.annotators.audit import Audit
    from components.annotators.config import Settings
    from components.annotators.labels import Labels
    from components.disclosure import Margin
    from components.records import Annotator, Decision

CROSSED = (("gender", "age_band"), ("gender", "region"), ("region", "first_language"))
"""Crossings that matter for representativeness; shown only where all their cells are large enough."""
WEIGHT_DIGITS = 4


def private(labels: Labels, found: Audit, settings: Settings, decisions: Mapping[str, Decision]) -> dict[str, Any]:
    """Everybody's figures, the proposals with their reasons, and what people decided."""
    low, high = wilson(found.golden_right, found.golden_labels)
    weight = _weight_of(labels, found)
    people = {
        name: {
            "accuracy": round(float(found.accuracy.value[row]), 4),
            "accuracy_low": round(float(found.accuracy.low[row]), 4),
            "accuracy_high": round(float(found.accuracy.high[row]), 4),
            "decided_labels": int(found.accuracy.labels[row]),
            "golden_right": int(found.golden_right[row]),
            "golden_labels": int(found.golden_labels[row]),
            "golden_low": round(float(low[row]), 4),
            "golden_high": round(float(high[row]), 4),
            "weight": round(float(weight[row]), WEIGHT_DIGITS),
            "checks": {
                name: {"statistic": round(float(check.statistic[row]), 3), "p": float(f"{check.p[row]:.3g}")}
                for name, check in found.checks.items()
                if not np.isnan(check.p[row])
            },
        }
        for row, name in enumerate(labels.annotators)
    }
    proposals = [
        {**asdict(proposal), "annotator": labels.annotators[proposal.annotator], "kinds": list(proposal.kinds)}
        for proposal in found.proposals
    ]
    decision = {
        "exclusions": settings.exclusions,
        "excluded": [labels.annotators[row] for row in found.excluded],
        "by_a_person": [row.model_dump(mode="json") for _, row in sorted(decisions.items())],
        "false_discovery_rate": settings.false_discovery_rate,
    }
    return {"annotators": dict(sorted(people.items())), "proposals": proposals, "decision": decision}


def public(
    labels: Labels,
    shown: Mapping[str, Margin],
    people: Mapping[str, Annotator],
    settings: Settings,
    *,
    seed: int,
    target: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """What documents may show.

    Args:
        labels: All labels.
        shown: The tables of people, see tables.py.
        people: Pseudonym → record.
        settings: The step's.
        seed: Of the bootstrap.
        target: Attribute → value → its share in the declared target population; empty where none was declared.
    """
    pool = [people[name] for name in labels.annotators if name in people]
    every = np.ones(len(labels.ids), bool)
    return {
        "exclusions": _exclusions(shown, settings),
        "agreement": _agreement(labels, groups(labels, people, shown), settings, seed),
        "reliability": tables.cells(shown[tables.RELIABILITY]),
        "bias": {
            "on_all_pairs": _tastes(labels, every, known_only=False, k=settings.smallest_cell),
            "on_known_pairs": _tastes(labels, every, known_only=True, k=settings.smallest_cell),
            "by_group": _tastes_by_group(labels, groups(labels, people, shown)),
        },
        "pool": _pool(pool, shown, settings),
        "representativeness": {
            attribute: representativeness.of(margin.cells, len(pool), k=margin.k, target=target.get(attribute, {}))
            for attribute, margin in tables.below(shown, tables.POOL).items()
            if pool and any(count is not None for count in margin.cells.values())
        },
        "target_population": "declared in target_population.json of the data version" if target else "",
        "work": {name: tables.as_shown(table) for name, table in tables.below(shown, tables.WORK).items()},
        "tables": {
            "reliability": tables.about(shown[tables.RELIABILITY]),
            "proposed_by_kind": tables.about(shown[tables.BY_KIND]),
        },
        "labels_by": {
            "guideline": _counted(labels.guideline, labels.guidelines),
            "annotators_per_pair": _sizes(labels),
            **_time(labels),
        },
        "responses_by_model": labels.models,
        "responses_by_decoding": labels.decodings,
        "rules": {"smallest_cell": settings.smallest_cell, "smallest_crossing": settings.smallest_crossing},
    }


ABOUT_PEOPLE = ("pool", "work", "representativeness", "reliability", "tables", "exclusions", "agreement", "bias")
"""Parts of the public report that count people, or their labels by what these say."""
RULES = ("mode", "false_discovery_rate")
"""Of the exclusions, what is no finding."""


def withheld(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The public report without what tells, subtracted from that of another release, what a few people are or do."""
    kept = {name: {} if name in ABOUT_PEOPLE else value for name, value in summary.items()}
    return kept | {"exclusions": {name: summary["exclusions"][name] for name in RULES}}


def largest_cell(summary: Mapping[str, Any], settings: Settings) -> int:
    """The largest k of the tables in a public report."""
    pool = summary["pool"]
    crossed = any(table != "suppressed" for table in pool["crossings"].values())
    margins = [margin["k"] for margin in pool["margins"].values()]
    return max([settings.smallest_cell, *margins, *([settings.smallest_crossing] if crossed else [])])


def _weight_of(labels: Labels, found: Audit) -> NDArray[np.float64]:
    weight = np.zeros(len(labels.annotators))
    named = labels.has_annotator
    weight[labels.annotator[named]] = found.weights[named]
    return weight


def _exclusions(shown: Mapping[str, Margin], settings: Settings) -> dict[str, Any]:
    kinds = tables.cells(shown[tables.BY_KIND])
    return {
        "mode": settings.exclusions,
        "proposed_by_kind": {kind: count for kind, count in kinds.items() if kind != tables.NOT_PROPOSED},
        "proposed": tables.said(tables.counted(shown, "proposed")),
        "excluded": tables.said(tables.counted(shown, "excluded")),
        "decided": tables.said(tables.counted(shown, "decided")),
        "false_discovery_rate": settings.false_discovery_rate,
    }


def _agreement(labels: Labels, members: Mapping[str, Group], settings: Settings, seed: int) -> dict[str, Any]:
    def of(rows: NDArray[np.bool_], k: int) -> dict[str, Any] | None:
        return _alpha(labels, rows, settings, seed) if are_of_several(labels, shared(labels, rows), k=k) else None

    k = settings.smallest_cell
    parts = {
        "overall": {"all labels": _rounded(of(np.ones(len(labels.ids), bool), k))},
        "by_guideline": {name: _rounded(of(labels.guideline == row, k)) for row, name in enumerate(labels.guidelines)},
        "by_criterion": {},
        "by_group": {name: _coarse(of(group.rows(labels), group.k)) for name, group in members.items()},
    }
    for name, (rows, chosen) in labels.criteria.items():
        turned = np.where(labels.is_swapped[rows], 2 - chosen, chosen)
        made = alpha(labels.pair[rows], turned.astype(np.int8), draws=settings.bootstrap, seed=seed)
        is_judged = np.isin(np.arange(len(labels.ids)), rows)
        shows = made and are_of_several(labels, shared(labels, is_judged), k=k)
        parts["by_criterion"][name] = _rounded(asdict(made)) if made and shows else None
    return parts


def _alpha(labels: Labels, rows: NDArray[np.bool_], settings: Settings, seed: int) -> dict[str, Any] | None:
    made = alpha(labels.pair[rows], labels.chosen[rows], draws=settings.bootstrap, seed=seed)
    return asdict(made) if made else None


def shared(labels: Labels, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(L,) those of the labels whose pair has another one among them: agreement is of these."""
    return rows & (np.bincount(labels.pair[rows], minlength=len(labels.pairs))[labels.pair] > 1)


def are_of_several(labels: Labels, rows: NDArray[np.bool_], *, k: int) -> bool:
    """Whether no figure of these labels is really of one person, or of a few; so is none where nobody knows who labelled."""
    named = rows & labels.has_annotator
    return not named.any() or are_several(np.bincount(labels.annotator[named]).tolist(), k=k)


@dataclass(frozen=True)
class Group:
    """People who share a value, of whom a figure may be shown."""

    members: NDArray[np.bool_]
    """(J,) who belongs to it."""
    k: int
    """Fewest people whose labels make a figure."""

    def rows(self, labels: Labels) -> NDArray[np.bool_]:
        """(L,) their labels."""
        return self.members[labels.annotator] & labels.has_annotator


def groups(labels: Labels, people: Mapping[str, Annotator], shown: Mapping[str, Margin]) -> dict[str, Group]:
    """`ATTRIBUTE: VALUE` → who belongs to it, for groups whose cell is shown."""
    found = {}
    for attribute, table in tables.below(shown, tables.POOL).items():
        values = np.array([tables.value_of(people.get(name), attribute) for name in labels.annotators])
        for value in (name for name, count in table.cells.items() if count is not None and name):
            found[f"{attribute}: {value}"] = Group(values == value, table.k)
    return found


def memberships(labels: Labels, people: Mapping[str, Annotator], shown: Mapping[str, Margin]) -> dict[str, Any]:
    """Group → its members, and of how many a figure must be: so that `reward` can say how well it ranks their labels."""
    return {
        name: {"k": group.k, "members": [labels.annotators[row] for row in np.flatnonzero(group.members)]}
        for name, group in groups(labels, people, shown).items()
    }


def _tastes(labels: Labels, rows: NDArray[np.bool_], *, known_only: bool, k: int) -> dict[str, Any]:
    """Biases of these labels; none where they are of too few."""
    decided = rows & (labels.choice != TIE)
    if known_only:
        decided &= ~np.isnan(labels.known[labels.pair])
    if not are_of_several(labels, decided, k=k):
        return {}
    return {name: _rounded(asdict(taste)) for name, taste in tastes(labels, rows, known_only=known_only).items()}


def _tastes_by_group(labels: Labels, members: Mapping[str, Group]) -> dict[str, Any]:
    """Biases of each group, on all pairs; the same pairs went to everybody, so that groups can be compared."""
    found = {}
    for name, group in members.items():
        made = _tastes(labels, group.rows(labels), known_only=False, k=group.k)
        if made:
            found[name] = {term: _coarse(taste) for term, taste in made.items()}
    return found


def _pool(pool: list[Annotator], shown: Mapping[str, Margin], settings: Settings) -> dict[str, Any]:
    """Margins and crossings of the people who labelled."""
    margins = tables.below(shown, tables.POOL)
    crossings: dict[str, Any] = {}
    for first, second in CROSSED:
        if first in margins and second in margins:
            pairs = Counter((tables.value_of(person, first), tables.value_of(person, second)) for person in pool)
            table = disclosure.crossing(pairs, k=settings.smallest_crossing, margins=(margins[first], margins[second]))
            crossings[f"{first} by {second}"] = {" / ".join(pair): n for pair, n in table.items()} if table else "suppressed"
    return {
        "margins": {name: tables.as_shown(table) for name, table in margins.items()},
        "crossings": crossings,
        "people_rounded_down": disclosure.rounded_down(len(pool), k=settings.smallest_cell),
    }


def _time(labels: Labels) -> dict[str, str]:
    """Days of the first and the last label, where any has a time."""
    known = labels.labelled_at[~np.isnan(labels.labelled_at)]
    if not len(known):
        return {}
    days = (datetime.fromtimestamp(float(end), UTC).date().isoformat() for end in (known.min(), known.max()))
    return dict(zip(("first_labelled_at", "last_labelled_at"), days, strict=True))


def _counted(rows: NDArray[np.int16], names: list[str]) -> dict[str, int]:
    counts = {name: int((rows == row).sum()) for row, name in enumerate(names)}
    unknown = int((rows < 0).sum())
    return counts | ({"not recorded": unknown} if unknown else {})


def _sizes(labels: Labels) -> dict[str, int]:
    sizes = np.bincount(np.bincount(labels.pair, minlength=len(labels.pairs)))
    return {str(size): int(count) for size, count in enumerate(sizes.tolist()) if count and size}


def _coarse(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """A group's figure without its counts, which would tell how many people a hidden group has; to two digits."""
    return {name: round(value[name], 2) for name in ("value", "low", "high")} if value else None


def _rounded(value: dict[str, Any] | None) -> dict[str, Any] | None:
    return {name: round(each, 4) if isinstance(each, float) else each for name, each in value.items()} if value else None
