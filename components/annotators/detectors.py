"""Ways in which labels can be worth less than they seem, one test each. Arrays in, statistics and p-values out.

Every test asks how likely it is that somebody like the rest of the pool would look like this by chance. Habits that most
people share (a liking for long answers, say) are the pool's bias, reported in pool.py, and nobody is singled out for them:
statistics are centred on the pool's median and, where the pool varies more than chance, scaled by how much it does.

| check | statistic | stands for |
| --- | --- | --- |
| accuracy | signed root of a likelihood ratio | less accurate than the pool's low end |
| position | score test: takes the first shown, beyond what quality explains | one-sided |
| length | the same: takes the longer | length-follower |
| agreement | the same: takes the one that agrees with whoever asks | agreement-follower |
| speed | binomial: labels given faster than anybody reads | too fast |
| drift | largest fall of a running sum of residuals (Brownian bridge) | less accurate over time |
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

LOW_END = 2.0
"""The pool's low end, in standard deviations of true accuracies below the median."""
TYPICAL_FAST = 0.1
"""Share of labels that may be faster than reading: short answers are seen at a glance."""
LEAST_SPREAD = 3
"""Fewest people for whom a robust scale of the pool can be taken."""
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


def expected(labels: Labels, right: NDArray[np.float64], found: Accuracy) -> NDArray[np.float64]:
    """(L,) chance that a decided label takes the pair's first response, from the others' view and its annotator's accuracy."""
    chosen = labels.chosen
    first_better = np.where(chosen == 0, right, 1 - right)
    own = np.append(found.value, 0.5)[labels.annotator]  # NOBODY is the last
    return np.asarray(0.5 + (own - 0.5) * (2 * first_better - 1))


def habit(name: str, labels: Labels, pull: NDArray[np.float64], chance: NDArray[np.float64], *, least_labels: int) -> Check:
    """Whether labels follow `pull` beyond what quality explains.

        z = Σ x (y - μ) / sqrt(Σ x² μ (1 - μ)),  y = 1 where the first is taken

    Args:
        name: Of the check.
        labels: All labels.
        pull: (L,) x: 1 where the habit would take the pair's first response, -1 the second, 0 where it says nothing.
        chance: (L,) μ, see `expected`; NaN for ties.
        least_labels: Labels with a pull below which nobody is judged.
    """
    rows = np.flatnonzero((pull != 0) & ~np.isnan(chance) & labels.has_annotator)
    people, who = len(labels.annotators), labels.annotator[rows]
    took_first = labels.chosen[rows] == 0
    x, mu = pull[rows], chance[rows]
    n = np.bincount(who, minlength=people)
    sums = accuracies.summed(who, x * (took_first - mu), people)
    scale = np.sqrt(accuracies.summed(who, x**2 * mu * (1 - mu), people))
    followed = accuracies.summed(who, took_first == (x > 0), people)
    judged = n >= least_labels
    z = np.where(judged, sums / np.maximum(scale, 1e-9), np.nan)
    pool_share = float(followed.sum() / n.sum()) if n.sum() else float("nan")
    z = beside_pool(z)
    shown = {"followed": followed, "of": n.astype(float), "pool_share": np.full(people, pool_share)}
    return Check(name, z, np.asarray(ndtr(-z)), shown)


def beside_pool(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Statistics centred on the pool's median and divided by its robust spread where that is above 1."""
    known = z[~np.isnan(z)]
    if len(known) < LEAST_SPREAD:
        return z
    middle = float(np.median(known))
    return np.asarray((z - middle) / max(1.0, 1.4826 * float(np.median(np.abs(known - middle)))))


def position(labels: Labels, chance: NDArray[np.float64], *, least_labels: int) -> Check:
    """Takes the answer shown first, or always the second: whichever is more extreme, so the p-value is doubled."""
    shown_first = np.where(labels.is_swapped, -1.0, 1.0)
    found = habit("position", labels, shown_first, chance, least_labels=least_labels)
    return Check("position", found.statistic, np.minimum(1.0, 2 * ndtr(-np.abs(found.statistic))), found.shown)


def length(labels: Labels, chance: NDArray[np.float64], *, least_labels: int) -> Check:
    """Takes the longer answer."""
    return habit("length", labels, np.sign(labels.features[labels.pair, 0]), chance, least_labels=least_labels)


def agreement(labels: Labels, chance: NDArray[np.float64], *, least_labels: int) -> Check:
    """Takes the answer that agrees with the opinion of whoever asks."""
    pull = np.sign(labels.features[labels.pair, 1])
    return habit("agreement", labels, pull, chance, least_labels=max(5, least_labels // 3))


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


def drift(labels: Labels, right: NDArray[np.float64], found: Accuracy, *, least_labels: int) -> Check:
    """Less accurate from some time on.

    Residuals e of "the label is right, as others see it" around its expectation, in order of time; S_k their running sum.
    Without drift S_k / sd(S_n), tied down at the end, is a Brownian bridge, whose largest value exceeds x with probability
    exp(-2x²). The change is put where the sum is largest.
    """
    people = len(labels.annotators)
    nothing = np.full(people, np.nan)
    rows = np.flatnonzero(~np.isnan(right) & ~np.isnan(labels.labelled_at) & labels.has_annotator)
    if not len(rows):
        return Check("drift", nothing, nothing)
    rows = rows[np.lexsort((labels.labelled_at[rows], labels.annotator[rows]))]
    who, lean = labels.annotator[rows], 2 * right[rows] - 1
    # The score of the accuracy, lean / chance, has mean 0 at the estimate: its running sum is the bridge.
    score = lean / (0.5 + (found.value[who] - 0.5) * lean)
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
