"""How often the reward model agrees with the labels of each group of annotators, as far as that may be shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from components.records import pair_id
from components.reward.quality import wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from components.records import Comparison

LEAST_LABELS = 30


def read(folder: Path) -> dict[str, list[str]]:
    """Group → pseudonyms of its members, as `annotators` wrote it: only groups that are large enough to be shown."""
    members: dict[str, list[str]] = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
    return members


def accuracy_by_group(
    comparisons: Iterable[Comparison], differences: Mapping[str, float], members: Mapping[str, list[str]]
) -> dict[str, dict[str, float]]:
    """Group → share of its decided labels that the scores agree with, and the ends of its 95 % interval, to two digits.

    Counts are left out: with the number of all labels they would tell how many people the other groups have. Groups with fewer
    than `LEAST_LABELS` labels here are left out too.

    Args:
        comparisons: Labels; those of pairs without a difference are passed over.
        differences: Pair id → score of the response that sorts first, less the score of the other.
        members: Group → pseudonyms.
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
    for group, people in sorted(members.items()):
        n, k = (sum(counts.get(person, 0) for person in people) for counts in (decided, right))
        if n >= LEAST_LABELS:
            low, high = wilson(k, n)
            found[group] = {"accuracy": round(k / n, 2), "low": round(low, 2), "high": round(high, 2)}
    return found
