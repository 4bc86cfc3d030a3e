"""Prompts kept apart from training that are nearly the same as a prompt of another split. Exact, no sampling.

A prompt is the set of its words in threes (lower case, without punctuation). Two prompts are near-duplicates where

    members of both / members of either ≥ t.

With every set of n sorted rarest member first, two sets this alike share a member among the first n - ⌈t n⌉ + 1 of either;
only these are indexed, so that few pairs are compared and none is missed.
Source: Bayardo, Ma and Srikant 2007, https://doi.org/10.1145/1242572.1242591, section 4.
What it does not cover: the same question in other words, or in another language.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

WORD = re.compile(r"\w+")
TOGETHER = 3
"""Words in a member of the set."""


class Similar(NamedTuple):
    """A prompt that is kept apart, and the most similar one of another split."""

    prompt: str
    split: str
    other: str
    other_split: str
    similarity: float


def members(text: str) -> frozenset[str]:
    """A text's words in threes; a shorter text is one member."""
    words = WORD.findall(text.casefold())
    if len(words) <= TOGETHER:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[at : at + TOGETHER]) for at in range(len(words) - TOGETHER + 1))


def across_splits(asked: Mapping[str, tuple[str, str]], *, similarity: float) -> list[Similar]:
    """For each prompt that is not trained on, the most similar one of another split, where there is one.

    Args:
        asked: Prompt id → its split and what it asks.
        similarity: t, from 0 to 1.

    Returns:
        In the order of the ids.
    """
    sets = {name: members(text) for name, (_, text) in asked.items()}
    count = Counter(member for found in sets.values() for member in found)
    ordered = {name: sorted(found, key=lambda member: (count[member], member)) for name, found in sets.items()}
    index: dict[str, list[str]] = defaultdict(list)
    for name, found in ordered.items():
        for member in _prefix(found, similarity):
            index[member].append(name)
    made = []
    for name in sorted(name for name, (split, _) in asked.items() if split != "train"):
        best = _most_similar(
            name, asked, sets, {other for member in _prefix(ordered[name], similarity) for other in index[member]}
        )
        if best is not None and best.similarity >= similarity:
            made.append(best)
    return made


def _prefix(ordered: list[str], similarity: float) -> list[str]:
    return ordered[: len(ordered) - math.ceil(similarity * len(ordered)) + 1]


def _most_similar(
    name: str, asked: Mapping[str, tuple[str, str]], sets: Mapping[str, frozenset[str]], others: set[str]
) -> Similar | None:
    split, mine = asked[name][0], sets[name]
    apart = [other for other in others if asked[other][0] != split]
    found = [(len(mine & sets[other]) / len(mine | sets[other]), other) for other in apart]
    if not found:
        return None
    value, other = min(found, key=lambda pair: (-pair[0], pair[1]))
    return Similar(name, split, other, asked[other][0], round(value, 4))
