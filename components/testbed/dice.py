"""Chance that falls the same on every machine and every version of Python.

Only `random.Random.random` is used, whose sequence Python promises to keep, and arithmetic that IEEE 754 fixes.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Dice:
    """Random choices from a named seed. Two names give two independent sequences."""

    def __init__(self, seed: int, name: str) -> None:
        self._random = random.Random(f"{seed}/{name}")

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        return int(self._random.random() * limit)

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`, evenly."""
        return low + (high - low) * self._random.random()

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, each as likely."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of `items`, as likely as its weight says."""
        rest = self._random.random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            rest -= weight
            if rest < 0:
                return item
        return items[-1]

    def normal(self, spread: float) -> float:
        """Nearly normal with mean 0 and this standard deviation: twelve even draws added up, so that no `log` is needed."""
        total = 0.0
        for _ in range(12):
            total += self._random.random()
        return (total - 6.0) * spread

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        rest = list(items)
        for last in range(len(rest) - 1, 0, -1):
            other = self.below(last + 1)
            rest[last], rest[other] = rest[other], rest[last]
        return rest

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items, or all where there are fewer."""
        return self.shuffled(items)[:count]
