"""Accounts that label alike beyond what the same truth explains: copying, or one person behind several accounts.

Two honest annotators agree because both see which answer is better, and err apart. So for two people who share pairs, each
shared label has a chance of being the same, from both people's tables and what is known of the pair; the number of same
labels (choice and strength) is then a sum of independent draws. Whoever labelled later is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from components.annotators.accuracy import summed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.annotators.dawid_skene import Preferences
    from components.annotators.labels import Labels

LEAST_SHARED = 12
MOST_MEETINGS = 20_000_000
"""Two labels on one pair meet. Beyond this many only labels that stand near each other in their pair are compared."""


@dataclass(frozen=True)
class Alike:
    """Two annotators who share enough pairs, one entry each."""

    earlier: NDArray[np.int64]
    later: NDArray[np.int64]
    shared: NDArray[np.int64]
    same: NDArray[np.float64]
    expected: NDArray[np.float64]
    z: NDArray[np.float64]
    p: NDArray[np.float64]


def alike(labels: Labels, found: Preferences) -> Alike:
    """All couples of annotators who share at least `LEAST_SHARED` pairs, tested."""
    people = len(labels.annotators)
    rows = np.flatnonzero(labels.has_annotator)
    rows = rows[np.argsort(labels.pair[rows], kind="stable")]
    left, right = _meetings(labels.pair[rows])
    left, right = rows[left], rows[right]
    apart = labels.annotator[left] != labels.annotator[right]
    left, right = left[apart], right[apart]
    swap = labels.annotator[left] > labels.annotator[right]
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    couples, couple = np.unique(labels.annotator[left].astype(np.int64) * people + labels.annotator[right], return_inverse=True)
    shared = np.bincount(couple, minlength=len(couples))
    enough = (shared >= LEAST_SHARED)[couple]
    left, right, couple = left[enough], right[enough], couple[enough]

    chance = _chance_same(labels, found, left, right)
    same = (labels.chosen[left] == labels.chosen[right]) & (labels.strength[left] == labels.strength[right])
    expected, spread, counted, ahead = (
        summed(couple, weights, len(couples))
        for weights in (chance, chance * (1 - chance), same.astype(float), _earlier(labels, left, right))
    )
    kept = np.flatnonzero(shared >= LEAST_SHARED)
    z = _beside_others((counted - 0.5 - expected)[kept] / np.sqrt(np.maximum(spread[kept], 1e-9)))
    first, second = np.divmod(couples[kept], people)
    is_first_earlier = ahead[kept] >= 0
    return Alike(
        earlier=np.where(is_first_earlier, first, second),
        later=np.where(is_first_earlier, second, first),
        shared=shared[kept],
        same=counted[kept],
        expected=expected[kept],
        z=z,
        p=np.asarray(ndtr(-z)),
    )


def _meetings(pair: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of any two labels of the same pair; `pair` is sorted."""
    lefts, rights, met = [], [], 0
    for lag in range(1, len(pair)):
        left = np.flatnonzero(pair[lag:] == pair[:-lag])
        if not len(left) or met + len(left) > MOST_MEETINGS:
            break
        lefts.append(left)
        rights.append(left + lag)
        met += len(left)
    if not lefts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(lefts), np.concatenate(rights)


def _chance_same(labels: Labels, found: Preferences, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Chance that two honest labels are the same: Σ_truth P(truth) Σ_choice P_left P_right P(same strength | choice).

    What is known of the pair without the two labels themselves decides about the truth, so that two wrong labels which
    made each other the truth don't count as right.
    """
    pair = labels.pair[left]
    others = found.log_odds[pair] - np.where(np.isnan(labels.known[pair]), found.evidence[left] + found.evidence[right], 0.0)
    first_better = 1 / (1 + np.exp(-np.clip(others, -30, 30)))
    strengths = _same_strength(labels)
    total = np.zeros(len(left))
    for better, weight in ((0, first_better), (1, 1 - first_better)):
        for chosen in range(3):
            both = np.ones(len(left))
            for row in (left, right):
                swapped = labels.is_swapped[row]
                truth_shown = np.where(swapped, 1 - better, better)
                said = np.where(swapped, 2 - chosen, chosen)
                both *= found.tables[labels.annotator[row], truth_shown, said]
            total += weight * both * (1.0 if chosen == 1 else strengths)
    return np.clip(total, 1e-6, 1 - 1e-6)


def _same_strength(labels: Labels) -> float:
    """Chance that two decided labels of one pair have the same strength: honest people agree on far better and slightly.

    Taken from all labels of the pool that are the same choice on the same pair, one after the other.
    """
    rows = np.flatnonzero(labels.choice != 1)
    rows = rows[np.argsort(labels.pair[rows], kind="stable")]
    left, right = rows[:-1], rows[1:]
    meet = (labels.pair[left] == labels.pair[right]) & (labels.chosen[left] == labels.chosen[right])
    meet &= labels.annotator[left] != labels.annotator[right]
    if not meet.any():
        return 1.0
    return float((labels.strength[left][meet] == labels.strength[right][meet]).mean())


def _earlier(labels: Labels, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 where the left label was given first, -1 where the right one was, 0 where nobody knows."""
    return np.nan_to_num(np.sign(labels.labelled_at[right] - labels.labelled_at[left]))


def _beside_others(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divided by the robust spread of all couples where that is above 1: shared taste makes everybody a little alike."""
    if len(z) < 10:
        return z
    middle = float(np.median(z))
    return np.asarray((z - max(0.0, middle)) / max(1.0, 1.4826 * float(np.median(np.abs(z - middle)))))
