"""How often the reward model agrees with the labels of each group of annotators, as far as that may be shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.contributors import are_several
from components.records import pair_id
from components.reward.quality import wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from components.records import Comparison

LEAST_LABELS = 30


@dataclass(frozen=True)
class Group:
    """Annotators who share a value."""

    members: Sequence[str]
    """Pseudonyms."""
    k: int
    """Fewest people whose labels make a figure that may be shown."""


def read(folder: Path) -> dict[str, Group]:
    """Groups, as `annotators` wrote them: only those that are large enough to be shown."""
    groups: dict[str, dict[str, Any]] = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
    return {name: Group(**group) for name, group in groups.items()}


def accuracy_by_group(
    comparisons: Iterable[Comparison], differences: Mapping[str, float], groups: Mapping[str, Group]
) -> dict[str, dict[str, float]]:
    """Group → share of its decided labels that the scores agree with, and the ends of its 95 % interval, to two digits.

    Counts are left out: with the number of all labels they would tell how many people the other groups have. Groups are left
    out too that have fewer than `LEAST_LABELS` labels here, or labels of fewer than k members, or mostly of one.

    Args:
        comparisons: Labels; those of pairs without a difference are passed over.
        differences: Pair id → score of the response that sorts first, less the score of the other.
        groups: Annotators by group.
    """
    right: dict[str, int] = {}
    decided: dict[str, int] = {}
    for comparison in comparisons:
        difference = differences.get(pair_id(comparison.prompt_id, comparison.responses))
        if comparison.annotator is None or comparison.label == "tie" or difference is None:
            continue
        chose_lower = (comparison.label == "first") == (comparison.responses[0] <= comparison.responses[1])
        decided[comparison.annotator] = decided.get(comparison.annotator, 0) + 1
        right[comparison.annotator] = right.get(comparison.annotator, 0) + ((difference > 0) == chose_lower and difference != 0)
    found = {}
    for name, group in sorted(groups.items()):
        given = [decided.get(person, 0) for person in group.members]
        agreed, n = sum(right.get(person, 0) for person in group.members), sum(given)
        if n >= LEAST_LABELS and are_several(given, k=group.k):
            low, high = wilson(agreed, n)
            found[name] = {"accuracy": round(agreed / n, 2), "low": round(low, 2), "high": round(high, 2)}
    return found
