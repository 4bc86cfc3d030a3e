"""The widest of several gaps, with intervals that know that it was chosen for being wide. Pure.

    T = max_p |μ_p|,  μ_p = E[first group's value less the second's] of pair p

The largest of several sample means is larger than the largest of the means they estimate, so an interval of the pair that was
chosen, as if it had been named beforehand, promises too much. Here all pairs are held within simultaneous intervals, whose
common width is the 95 % quantile of the largest studentized deviation of any of them over resamples:

    c = 95 % quantile of max_k |m*_k - m_k| / se_k

N: questions; P: pairs of groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.evaluate.statistics import TAIL, Interval, unseen

if TYPE_CHECKING:
    from components.evaluate.statistics import Numbers


def widest(values: Numbers, *, seed: int, resamples: int, span: float = 0.0) -> Interval:
    """The widest gap of one model.

    Args:
        values: (N, P) one group's value less the other's, for each question and pair of groups.
        seed: Of the resampling.
        resamples: How many.
        span: Largest distance that a value can have from another; see `statistics.mean`.

    Returns:
        max |m_p| with the interval from max (|m_p| - c se_p) to max (|m_p| + c se_p). The value itself is the sample's and so
        too large where gaps are small; the interval holds 0 there.
    """
    means, reach = _held(values, seed=seed, resamples=resamples)
    value, hidden = float(np.abs(means).max()), unseen(span, len(values))
    low, high = float((np.abs(means) - reach).max()), float((np.abs(means) + reach).max())
    return Interval(value, max(0.0, min(low, value - hidden)), max(high, value + hidden), len(values))


def difference(first: Numbers, second: Numbers, *, seed: int, resamples: int, span: float = 0.0) -> Interval:
    """The first model's widest gap less the second's.

        T_1 - T_2 ≤ s_p (μ_1p - μ_2p) for the pair p, and sign s_p, that is widest under the first,

    and the other way round for the lower end. The simultaneous intervals say which pairs these may be; the largest bound over
    them holds whichever it is. Where the bounds of the two gaps by themselves are tighter, those count. Two models that treat
    every group alike on every question differ by 0, and the interval has only the width of what was not seen.

    Args:
        first: (N, P) see `widest`.
        second: (N, P) the same questions and pairs under the other model.
        seed: Of the resampling.
        resamples: How many.
        span: See `widest`; of a difference.

    Its coverage is checked by simulation in `tests/components/evaluate/test_gaps.py`.
    """
    pairs = first.shape[1]
    means, reach = _held(np.hstack([first, second, first - second]), seed=seed, resamples=resamples)
    own, others, apart = (means[part * pairs : (part + 1) * pairs] for part in range(3))
    wide, other_wide, apart_wide = (reach[part * pairs : (part + 1) * pairs] for part in range(3))
    high = min(_bound(own, wide, apart, apart_wide), _highest(own, wide) - _lowest(others, other_wide))
    low = -min(_bound(others, other_wide, -apart, apart_wide), _highest(others, other_wide) - _lowest(own, wide))
    value, hidden = float(np.abs(own).max() - np.abs(others).max()), unseen(span, len(first))
    return Interval(value, min(low, value - hidden), max(high, value + hidden), len(first))


def p_wider(first: Numbers, second: Numbers, *, seed: int, resamples: int) -> float:
    """One-sided p-value that the first model's widest gap is larger, by exchanging the models question by question.

    The pair is chosen anew in every exchange. Where it makes no difference whose answers to a question are whose, every
    exchange is as likely; the two counts have one added, as in `statistics.bootstrap_p`.
    """
    both = np.stack([(first + second) / 2, (first - second) / 2])
    centre, half = both[0].mean(axis=0), both[1]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(resamples, len(first)))
    moved = signs @ half / len(first)
    drawn = np.abs(centre + moved).max(axis=1) - np.abs(centre - moved).max(axis=1)
    seen = np.abs(first.mean(axis=0)).max() - np.abs(second.mean(axis=0)).max()
    return float((np.sum(drawn >= seen - 1e-12) + 1) / (resamples + 1))


def of_the_widest(first: Numbers, second: Numbers) -> tuple[Numbers, Numbers]:
    """(N) of each model: the pair that is widest under the first, turned so that the first's mean is positive."""
    means = first.mean(axis=0)
    pair = int(np.abs(means).argmax())
    sign = -1.0 if means[pair] < 0 else 1.0
    return sign * first[:, pair], sign * second[:, pair]


def _held(values: Numbers, *, seed: int, resamples: int) -> tuple[Numbers, Numbers]:
    """(K) means of the columns, and (K) how far each reaches to either side so that all hold at once."""
    n = len(values)
    means, errors = values.mean(axis=0), values.std(axis=0, ddof=min(1, n - 1)) / np.sqrt(n)
    spread = errors > 0
    if not spread.any():
        return means, errors
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    drawn = counts @ values[:, spread] / n
    largest = np.abs((drawn - means[spread]) / errors[spread]).max(axis=1)
    return means, float(np.quantile(largest, 1 - 2 * TAIL)) * errors


def _bound(own: Numbers, wide: Numbers, apart: Numbers, apart_wide: Numbers) -> float:
    """Upper bound of the gap's growth over all pairs, in both directions, that may be the widest one under `own`."""
    signed, grown = np.concatenate([own, -own]), np.concatenate([apart, -apart])
    reach, grown_reach = np.tile(wide, 2), np.tile(apart_wide, 2)
    may_be_widest = signed + reach >= (signed - reach).max()
    return float((grown + grown_reach)[may_be_widest].max())


def _highest(means: Numbers, reach: Numbers) -> float:
    return float((np.abs(means) + reach).max())


def _lowest(means: Numbers, reach: Numbers) -> float:
    return max(0.0, float((np.abs(means) - reach).max()))
