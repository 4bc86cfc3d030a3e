"""How often each annotator is right, from pairs that are known and from what others said, with intervals.

A label is right with probability q as far as others tell (`dawid_skene.chance_right`). If its annotator is right with
probability a, the others' view of the label being right has likelihood a q + (1 - a)(1 - q). So

    l(a) = Σ log(a q + (1 - a)(1 - q)),

which is concave. A pair nobody else judged has q = 1/2 and says nothing about anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Z_95 = 1.959963984540054
EDGE = 1e-4
"""Accuracies are sought from EDGE to 1 - EDGE."""
STEPS = 24
"""Halvings of the interval: the error is below 1e-7."""


@dataclass(frozen=True)
class Accuracy:
    """(J,) each."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """Ends of the 95 % profile-likelihood interval."""
    labels: NDArray[np.int64]
    """Decided labels."""
    informed: NDArray[np.float64]
    """How many known pairs these are worth: Σ (2q - 1)²."""


def summed(group: NDArray[Any], values: NDArray[Any], groups: int) -> NDArray[np.float64]:
    """(groups,) sums of the values of each group."""
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)


class Likelihood:
    """The log-likelihood of every annotator's accuracy."""

    def __init__(self, annotator: NDArray[np.int32], right: NDArray[np.float64], people: int) -> None:
        """Labels of annotators (L,), each right with probability `right` (L,), NaN where undecided."""
        decided = ~np.isnan(right) & (annotator >= 0)
        self.annotator, self.people = annotator[decided], people
        self.lean = 2 * right[decided] - 1
        self.labels = np.bincount(self.annotator, minlength=people)
        self.informed = summed(self.annotator, self.lean**2, people)

    def at(self, accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(J,) log-likelihood at the accuracies (J,)."""
        chance = 0.5 + (accuracy[self.annotator] - 0.5) * self.lean
        return summed(self.annotator, np.log(np.maximum(chance, 1e-12)), self.people)

    def slope(self, accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(J,) its derivative, which falls in the accuracy."""
        chance = 0.5 + (accuracy[self.annotator] - 0.5) * self.lean
        return summed(self.annotator, self.lean / np.maximum(chance, 1e-12), self.people)


def estimate(likelihood: Likelihood) -> Accuracy:
    """Everybody's most likely accuracy with its interval; 0.5 from 0 to 1 where nothing is known."""
    people = likelihood.people
    bottom, top = np.full(people, EDGE), np.full(people, 1 - EDGE)
    best = _bisect(lambda at: likelihood.slope(at) > 0, bottom, top)
    best = np.where(likelihood.informed > 0, best, 0.5)
    drop = likelihood.at(best) - Z_95**2 / 2
    low = _bisect(lambda at: likelihood.at(at) < drop, bottom, best)
    high = _bisect(lambda at: likelihood.at(at) >= drop, best, top)
    low = np.where(likelihood.at(bottom) >= drop, 0.0, low)
    high = np.where(likelihood.at(top) >= drop, 1.0, high)
    return Accuracy(best, low, high, likelihood.labels, likelihood.informed)


def worse_than(likelihood: Likelihood, found: Accuracy, limit: float) -> NDArray[np.float64]:
    """(J,) p-value of an accuracy this low where the true one is at least `limit`.

    The signed root of the likelihood ratio, z = sign(a - limit) sqrt(2 (l(a) - l(limit))), is about normal.
    """
    gain = np.maximum(0.0, likelihood.at(found.value) - likelihood.at(np.full(likelihood.people, limit)))
    return np.asarray(ndtr(np.sign(found.value - limit) * np.sqrt(2 * gain)))


def pool(found: Accuracy, *, least_labels: int) -> tuple[float, float]:
    """Median accuracy of the pool, and the standard deviation of true accuracies in it, both robust against a bad third.

    The spread of estimates less the median sampling variance; MAD scaled to a normal's standard deviation.
    """
    judged = (found.labels >= least_labels) & (found.informed >= 3)
    if judged.sum() < 3:
        return float("nan"), float("nan")
    middle = float(np.median(found.value[judged]))
    spread = 1.4826 * float(np.median(np.abs(found.value[judged] - middle)))
    sampling = float(np.median(((found.high - found.low)[judged] / (2 * Z_95)) ** 2))
    return middle, max(0.0, spread**2 - sampling) ** 0.5


def wilson(right: NDArray[np.int64], n: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95 % Wilson score interval of shares; 0 to 1 where n is 0. https://doi.org/10.1080/01621459.1927.10502953."""
    safe = np.maximum(n, 1)
    middle = (right + Z_95**2 / 2) / (safe + Z_95**2)
    half = Z_95 * np.sqrt(right * (safe - right) / safe + Z_95**2 / 4) / (safe + Z_95**2)
    return np.where(n > 0, np.maximum(0, middle - half), 0.0), np.where(n > 0, np.minimum(1, middle + half), 1.0)


def _bisect(
    is_below: Callable[[NDArray[np.float64]], NDArray[np.bool_]], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where `is_below` turns from true to false, between `low` and `high`."""
    low, high = low.copy(), high.copy()
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = is_below(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)
