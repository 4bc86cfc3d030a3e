"""Bradley–Terry with annotators of unequal reliability: every response has a quality that all its pairs share.

    P(a annotator takes i over j) = η σ(θ_i - θ_j) + (1 - η) σ(θ_j - θ_i)

Where responses recur (four answers to one prompt, ranked in pairs) it knows more of a pair than the pair's own labels; where
every response occurs once it says what Dawid and Skene's model says. Ties count half each way.

Source: Chen et al. 2013, https://doi.org/10.1145/2433396.2433420 (Crowd-BT); fitted by expectation-maximisation with a
normal prior on θ and the pool's average on η.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.annotators.labels import Labels

ROUNDS = 30
STEPS = 5
"""Damped Newton steps, one coordinate's curvature each, in a round."""
SPREAD = 2.0
"""Standard deviation of the prior of θ. [log-odds]"""
START = 0.8
"""Reliability from which everybody starts."""
ANCHOR = 20.0
"""How many certain labels a known pair counts for."""


def preferences(labels: Labels, *, is_used: NDArray[np.bool_], prior_labels: float) -> NDArray[np.float64]:
    """(P,) probability that the first response is better, given the labels that are used and the pairs that are known."""
    rows = np.flatnonzero(is_used & labels.has_annotator & (labels.choice != 1))
    first, second = labels.sides[labels.pair[rows]].T
    takes_first = labels.chosen[rows] == 0
    winner, loser = np.where(takes_first, first, second), np.where(takes_first, second, first)
    known = np.flatnonzero(~np.isnan(labels.known))
    up = np.where(labels.known[known] > 0.5, labels.sides[known, 0], labels.sides[known, 1])
    down = np.where(labels.known[known] > 0.5, labels.sides[known, 1], labels.sides[known, 0])
    people, sides = len(labels.annotators), int(labels.sides.max(initial=-1)) + 1
    who, quality = labels.annotator[rows], np.zeros(sides)
    reliability = np.full(people, START)
    n = np.bincount(who, minlength=people)
    for _ in range(ROUNDS):
        right = expit(quality[winner] - quality[loser])
        trusted = reliability[who] * right / (reliability[who] * right + (1 - reliability[who]) * (1 - right))
        sums = np.bincount(who, weights=trusted, minlength=people)
        average = sums.sum() / max(1, n.sum())
        reliability = np.clip((sums + prior_labels * average) / (n + prior_labels), 0.01, 0.99)
        # A trusted label is a win, a distrusted one a loss.
        wins = np.concatenate([winner, loser, up]), np.concatenate([loser, winner, down])
        weight = np.concatenate([trusted, 1 - trusted, np.full(len(known), ANCHOR)])
        for _ in range(STEPS):
            quality = _step(quality, *wins, weight)
    return np.asarray(expit(quality[labels.sides[:, 0]] - quality[labels.sides[:, 1]]))


def _step(
    quality: NDArray[np.float64], winner: NDArray[np.int32], loser: NDArray[np.int32], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One step up the log-posterior. Each coordinate's curvature is doubled, which bounds what its neighbours do meanwhile."""
    chance = expit(quality[winner] - quality[loser])
    pull, bend = weight * (1 - chance), weight * chance * (1 - chance)
    size = len(quality)
    slope = np.bincount(winner, pull, size) - np.bincount(loser, pull, size) - quality / SPREAD**2
    curvature = 2 * (np.bincount(winner, bend, size) + np.bincount(loser, bend, size)) + 1 / SPREAD**2
    return np.asarray(quality + slope / curvature)
