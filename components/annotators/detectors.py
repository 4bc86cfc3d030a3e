"""Ways in which labels can be worth less than they seem, one test each. Arrays in, statistics and p-values out.

Every test asks how likely it is that somebody like the rest of the pool would look like this by chance. Habits that most
people share (a liking for long answers, say) are the pool's bias, reported in pool.py, and nobody is singled out for them:
statistics are centred on the pool's median and, where the pool varies more than chance, scaled by how much it does.

| check | statistic | stands for |
| --- | --- | --- |
| accuracy | signed root of a likelihood ratio | less accurate than the pool's low end |
| care | score test: labels hardly more apt to the pair than a blind person's | random, inverted |
| position | score test: prefers the first shown, beyond what others say of the pair | one-sided |
| length | the same: takes the longer | length-follower |
| agreement | the same: takes the one that agrees with whoever asks | agreement-follower |
| speed | binomial: labels given faster than anybody reads | too fast |
| drift | largest fall of the running sum of care (Brownian bridge) | labels with less care from some time on |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtrc, ndtr

from components.annotators import accuracy as accuracies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.annotators.accuracy import Accuracy, Likelihood
    from components.annotators.labels import Labels
    from components.annotators.typical import Typical

LOW_END = 2.0
"""The pool's low end, in standard deviations of true accuracies below the median."""
TYPICAL_FAST = 0.1
"""Share of labels that may be faster than reading: short answers are seen at a glance."""
CARELESS = 0.15
"""How far from the pool's median to a blind labeller somebody may be. [fraction]"""
LEAST_SPREAD = 3
"""Fewest people for whom a robust scale of the pool can be taken."""
LEAST_HABIT = 0.2
"""How much oftener than the pool somebody must follow a habit to be proposed for it: less is taste. [fraction]"""
LEAST_DROP = 0.15
"""A fall of accuracy worth a proposal. [fraction]"""


@dataclass(frozen=True)
class Check:
    """One test of everybody."""

    name: str
    statistic: NDArray[np.float64]
    """(J,) in standard deviations where nothing else is said; NaN where it could not be taken."""
    p: NDArray[np.float64]
    """(J,) chance of a statistic this extreme in an honest annotator; NaN where it could not be taken."""
    shown: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """(J,) figures that a person can follow, by name."""


def accuracy(likelihood: Likelihood, found: Accuracy, *, least_labels: int) -> Check:
    """Less accurate than the pool's low end: median less twice the standard deviation of true accuracies."""
    middle, spread = accuracies.pool(found, least_labels=least_labels)
    nothing = np.full(likelihood.people, np.nan)
    if np.isnan(middle):
        return Check("accuracy", nothing, nothing)
    limit = float(np.clip(middle - LOW_END * spread, 0.5 + 0.25 * (middle - 0.5), 1.0))
    p = accuracies.worse_than(likelihood, found, limit)
    judged = (found.labels >= least_labels) & (found.informed >= 3)
    shown = {"accuracy": found.value, "low": found.low, "high": found.high, "limit": np.full(likelihood.people, limit)}
    return Check("accuracy", np.where(judged, found.value, np.nan), np.where(judged, p, np.nan), shown)


def care(labels: Labels, beside: Typical, found: Accuracy, *, least_labels: int) -> Check:
    """Labels that hang together with what others say of their pairs hardly more than a blind person's.

        z = Σ care / sqrt(Σ Var care) beside the pool, less `CARELESS` of what it would be of somebody blind

    So nobody is named who is only a little less careful than others.
    """
    who, people = labels.annotator[labels.has_annotator], len(labels.annotators)
    sums, blind, variance = (
        accuracies.summed(who, values[labels.has_annotator], people)
        for values in (beside.care, beside.blind_care, beside.care_variance)
    )
    judged = (found.labels >= least_labels) & (found.informed >= 3) & (variance > 0)
    scale = np.sqrt(np.maximum(variance, 1e-9))
    z = beside_pool(np.where(judged, sums / scale, np.nan)) - CARELESS * blind / scale
    return Check("care", z, np.asarray(ndtr(z)), {"accuracy": found.value})


def habit(
    name: str, labels: Labels, pull: NDArray[np.float64], beside: Typical, *, least_labels: int, both_ways: bool = False
) -> Check:
    """Whether labels follow `pull` beyond what others say of the pairs.

    Everybody's labels t are explained by what is typical, e, times a slope of their own (about 1 for careful people, 0 for
    random ones, -1 for inverted ones), and by the pull x. The part of x that e does not explain is tested:

        x' = x - e Σ x e / Σ e²,   z = Σ x' t / sqrt(Σ x'² (E t² - slope² e²)),   slope = Σ t e / Σ e²

    Args:
        name: Of the check.
        labels: All labels.
        pull: (L,) x: 1 where the habit would take the pair's first response, -1 the second, 0 where it says nothing.
        beside: t, e and E t².
        least_labels: Labels with a pull below which nobody is judged.
        both_ways: Whether the opposite is as bad.
    """
    rows = np.flatnonzero(labels.has_annotator)
    people, who, x = len(labels.annotators), labels.annotator[rows], pull[rows]
    said, typical = beside.said[rows], beside.expected[rows]
    informative = np.maximum(accuracies.summed(who, typical**2, people), 1e-9)
    slope = np.clip(accuracies.summed(who, said * typical, people) / informative, -1.0, 1.0)
    left = x - typical * (accuracies.summed(who, x * typical, people) / informative)[who]
    variance = accuracies.summed(who, left**2 * (beside.square[rows] - (slope[who] * typical) ** 2), people)
    decided = (x != 0) & (said != 0)
    n = np.bincount(who[decided], minlength=people)
    followed = accuracies.summed(who[decided], (said * x > 0)[decided], people)
    z = accuracies.summed(who, left * said, people) / np.sqrt(np.maximum(variance, 1e-9))
    z = beside_pool(np.where(n >= least_labels, z, np.nan))
    pool_share = float(followed.sum() / n.sum()) if n.sum() else float("nan")
    shown = {"followed": followed, "of": n.astype(float), "pool_share": np.full(people, pool_share)}
    more = np.divide(followed, n, out=np.zeros(people), where=n > 0) - pool_share
    p = 2 * ndtr(-np.abs(z)) if both_ways else ndtr(-z)
    is_worth_it = (np.abs(more) if both_ways else more) >= LEAST_HABIT
    return Check(name, z, np.where(np.isnan(z), np.nan, np.where(is_worth_it, p, 1.0)), shown)


def beside_pool(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Statistics centred on the pool's median and divided by its robust spread where that is above 1."""
    known = z[~np.isnan(z)]
    if len(known) < LEAST_SPREAD:
        return z
    middle = float(np.median(known))
    return np.asarray((z - middle) / max(1.0, 1.4826 * float(np.median(np.abs(known - middle)))))


def position(labels: Labels, beside: Typical, *, least_labels: int) -> Check:
    """Takes the answer shown first, or always the second."""
    shown_first = np.where(labels.is_swapped, -1.0, 1.0)
    return habit("position", labels, shown_first, beside, least_labels=least_labels, both_ways=True)


def length(labels: Labels, beside: Typical, *, least_labels: int) -> Check:
    """Takes the longer answer."""
    return habit("length", labels, np.sign(labels.features[labels.pair, 0]), beside, least_labels=least_labels)


def agreement(labels: Labels, beside: Typical, *, least_labels: int) -> Check:
    """Takes the answer that agrees with the opinion of whoever asks."""
    pull = np.sign(labels.features[labels.pair, 1])
    return habit("agreement", labels, pull, beside, least_labels=max(5, least_labels // 3))


def speed(labels: Labels, *, words_per_second: float, least_labels: int) -> Check:
    """More labels than a tenth were given in less time than both answers take to read, or in under a second."""
    people = len(labels.annotators)
    rows = np.flatnonzero(~np.isnan(labels.seconds) & labels.has_annotator)
    who = labels.annotator[rows]
    least = np.maximum(1.0, labels.words[labels.pair[rows]] / words_per_second)
    fast = accuracies.summed(who, labels.seconds[rows] < least, people)
    n = np.bincount(who, minlength=people)
    judged = n >= least_labels
    share = np.where(judged, fast / np.maximum(n, 1), np.nan)
    p = np.where(fast > 0, bdtrc(np.maximum(fast - 1, 0), np.maximum(n, 1), TYPICAL_FAST), 1.0)
    return Check("speed", share, np.where(judged, p, np.nan), {"fast": fast, "of": n.astype(float)})


def drift(labels: Labels, right: NDArray[np.float64], beside: Typical, found: Accuracy, *, least_labels: int) -> Check:
    """Less care from some time on.

    S_k is the running sum of care in order of time. Without drift S_k / sd(S_n), tied down at the end, is a Brownian bridge,
    whose largest value exceeds x with probability exp(-2x²). The change is put where the sum is largest.
    """
    people = len(labels.annotators)
    nothing = np.full(people, np.nan)
    rows = np.flatnonzero(~np.isnan(labels.labelled_at) & labels.has_annotator)
    if not len(rows):
        return Check("drift", nothing, nothing)
    rows = rows[np.lexsort((labels.labelled_at[rows], labels.annotator[rows]))]
    who, score = labels.annotator[rows], beside.care[rows]
    lean = np.nan_to_num(2 * right[rows] - 1)
    n = np.bincount(who, minlength=people)
    ends = np.cumsum(n)
    starts = ends - n
    running = np.cumsum(score)
    before = np.where(starts > 0, running[np.maximum(starts - 1, 0)], 0.0)
    total = np.where(n > 0, running[np.maximum(ends - 1, 0)], 0.0) - before
    place = np.arange(len(rows)) - starts[who] + 1
    bridge = running - before[who] - total[who] * place / n[who]
    scale = np.sqrt(accuracies.summed(who, (score - (total / np.maximum(n, 1))[who]) ** 2, people))
    highest = np.full(people, -np.inf)
    np.maximum.at(highest, who, bridge)
    x = np.where(n > 0, highest / np.maximum(scale, 1e-9), 0.0)
    peak = bridge >= highest[who]
    change = np.zeros(people)
    np.maximum.at(change, who, np.where(peak, place, 0))
    is_before = place <= change[who]
    first, second = (_weighted(who[part], lean[part], people) for part in (is_before, ~is_before))
    judged = (n >= 2 * least_labels) & (found.informed >= 6)
    p = np.where(judged, np.where(first - second >= LEAST_DROP, np.exp(-2 * np.maximum(x, 0) ** 2), 1.0), np.nan)
    return Check("drift", np.where(judged, x, np.nan), p, {"before": first, "after": second, "labels_before": change})


def _weighted(who: NDArray[np.int32], lean: NDArray[np.float64], people: int) -> NDArray[np.float64]:
    """Moment estimate of accuracy: ½ + ½ Σ (2q - 1) / Σ |2q - 1|, about; NaN where nothing is known."""
    top = accuracies.summed(who, lean, people)
    bottom = accuracies.summed(who, np.abs(lean), people)
    return np.asarray(0.5 + 0.5 * np.divide(top, bottom, out=np.full(people, np.nan), where=bottom > 0))
