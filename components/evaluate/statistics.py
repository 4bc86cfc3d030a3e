"""Intervals, 95 % and two-sided, seeded where they are drawn.

N: prompts or texts, measured under both models (paired).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

Z = 1.959963984540054
"""The standard normal's 97.5 % point."""
TAIL = 0.025
CHUNK = 2_000_000
"""Most numbers drawn at once."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: int) -> Interval:
    """A proportion with Wilson's score interval.

        centre = (p + z²/2n) / (1 + z²/n),  half = z √(p(1-p)/n + z²/4n²) / (1 + z²/n)

    Args:
        successes: How many; where an item has several answers, the sum of its shares, which makes the interval cautious.
        n: Of how many items.

    Raises:
        ValueError: n is 0.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953. Checked by hand in
    tests/components/evaluate/test_statistics.py.
    """
    if n == 0:
        message = "A proportion of nothing has no interval."
        raise ValueError(message)
    share = successes / n
    scale = 1 + Z**2 / n
    centre = (share + Z**2 / (2 * n)) / scale
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / scale
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), n)


def paired_shares(first: Numbers, second: Numbers) -> Interval:
    """First mean share minus second on the same items, with the adjusted Wald interval of Bonett and Price.

        d_i = first_i - second_i, with two more: +1 and -1
        d~ ± z √(Σ(d_i²)/(N+2) - d~²) / √(N+2)

    The two additional items keep it wide where nothing was seen to differ, and near its nominal coverage in small samples;
    a bootstrap has neither. For zeros and ones it is the published interval; for shares between, its direct extension.

    Args:
        first: (N) share of an item's answers, from 0 to 1.
        second: (N) the same under the other model.

    Source: Bonett and Price 2012, https://doi.org/10.3102/1076998611411915. Checked by hand in
    tests/components/evaluate/test_statistics.py.
    """
    _check_pairs(first, second)
    difference = first - second
    n, value = len(difference), float(difference.mean())
    centre = float(difference.sum()) / (n + 2)
    spread = (float((difference**2).sum()) + 2) / (n + 2) - centre**2
    half = Z * math.sqrt(spread / (n + 2))
    return Interval(value, min(value, max(-1.0, centre - half)), max(value, min(1.0, centre + half)), n)


def mean(values: Numbers, *, seed: int, resamples: int, span: float = 0.0) -> Interval:
    """A mean with its percentile bootstrap interval.

    Args:
        values: (N) one number an item; for paired models the difference.
        seed: Of the resampling.
        resamples: How many.
        span: Largest distance that a value can have from another; the interval reaches at least `unseen` to both sides.

    Raises:
        ValueError: There are no values.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    if not len(values):
        message = "A mean of nothing has no interval."
        raise ValueError(message)
    value = float(values.mean())
    hidden = unseen(span, len(values))
    if np.ptp(values) == 0:
        return Interval(value, value - hidden, value + hidden, len(values))
    means = np.concatenate([values[rows].mean(axis=1) for rows in _draws(len(values), seed, resamples)])
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return Interval(value, min(float(low), value - hidden), max(float(high), value + hidden), len(values))


def unseen(span: float, n: int) -> float:
    """How far a mean may lie from what N values show, since resampling sees no spread in what did not occur.

        span · (1 - 0.025^(1/N)):  up to that share of items may differ, by the span, without one of them being among the N

    The exact binomial bound for no event in N.
    """
    return span * (1 - float(TAIL ** (1 / n)))


def ratio(numerators: Numbers, denominators: Numbers, *, seed: int, resamples: int) -> Interval | None:
    """Ratio of two means over the same items with its percentile bootstrap interval; None where it has no finite value."""
    _check_pairs(numerators, denominators)
    if denominators.sum() <= 0:
        return None
    found = []
    for rows in _draws(len(numerators), seed, resamples):
        below = denominators[rows].sum(axis=1)
        found.append(numerators[rows].sum(axis=1)[below > 0] / below[below > 0])
    low, high = np.quantile(np.concatenate(found), [TAIL, 1 - TAIL])
    return Interval(float(numerators.sum() / denominators.sum()), float(low), float(high), len(numerators))


def perplexity(nats: Numbers, tokens: Numbers, *, seed: int, resamples: int) -> Interval:
    """Perplexity per token, exp(Σ nats / Σ tokens), resampling texts.

    Args:
        nats: (N) negative log likelihood of each text.
        tokens: (N) predicted tokens of each text.
        seed: Of the resampling.
        resamples: How many.
    """
    _check_pairs(nats, tokens)
    found = [nats[rows].sum(axis=1) / tokens[rows].sum(axis=1) for rows in _draws(len(nats), seed, resamples)]
    low, high = np.exp(np.quantile(np.concatenate(found), [TAIL, 1 - TAIL]))
    return Interval(math.exp(float(nats.sum() / tokens.sum())), float(low), float(high), len(nats))


def perplexity_ratio(first: Numbers, second: Numbers, tokens: Numbers, *, seed: int, resamples: int) -> Interval:
    """Perplexity under the first model over that under the second: exp(Σ(first - second) / Σtokens), resampling texts.

    Args:
        first: (N) negative log likelihood of each text. [nats]
        second: (N) the same under the other model. [nats]
        tokens: (N) predicted tokens of each text.
        seed: Of the resampling.
        resamples: How many.
    """
    _check_pairs(first, second)
    gap = first - second
    found = [gap[rows].sum(axis=1) / tokens[rows].sum(axis=1) for rows in _draws(len(gap), seed, resamples)]
    low, high = np.exp(np.quantile(np.concatenate(found), [TAIL, 1 - TAIL]))
    return Interval(math.exp(float(gap.sum() / tokens.sum())), float(low), float(high), len(gap))


def mcnemar(first: Numbers, second: Numbers) -> float:
    """One-sided exact p-value that the first has fewer ones than the second on the same items.

        b = #(first 1, second 0), c = #(first 0, second 1);  p = P(X <= b), X ~ Binomial(b + c, 1/2)

    Args:
        first: (N) zeros and ones.
        second: (N) zeros and ones.

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996, in its exact form. Checked by hand in
    tests/components/evaluate/test_statistics.py.
    """
    _check_pairs(first, second)
    gained, lost = int((first > second).sum()), int((first < second).sum())
    return sum(math.comb(gained + lost, hits) for hits in range(gained + 1)) / 2 ** (gained + lost)


def bootstrap_p(values: Numbers, *, seed: int, resamples: int) -> float:
    """One-sided p-value that a mean is below 0: how often a resampled mean is not, with one added to both counts.

    Args:
        values: (N) paired differences.
        seed: Of the resampling.
        resamples: How many; the smallest p-value is 1 / (resamples + 1).

    Source: Davison and Hinkley 1997, section 4.4, for the added one.
    """
    if np.ptp(values) == 0:
        return 1.0 if values[0] >= 0 else 1 / (resamples + 1)
    above = sum(int((values[rows].mean(axis=1) >= 0).sum()) for rows in _draws(len(values), seed, resamples))
    return (above + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: rejecting those below a level bounds any false rejection by it.

        p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))

    Source: Holm 1979, https://www.jstor.org/stable/4615733. Checked by hand in tests/components/evaluate/test_statistics.py.
    """
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


def at_equal_length(quality: Numbers, words: Numbers, *, seed: int, resamples: int) -> Interval:
    """The difference in quality that is left where two answers are equally long: the intercept of a straight line.

        quality_i = a + b · words_i,  least squares;  the interval of a by resampling items

    Args:
        quality: (N) first minus second.
        words: (N) words of the first minus words of the second.
        seed: Of the resampling.
        resamples: How many.

    Where all differ by the same number of words no line is determined, and a is the mean.
    """
    _check_pairs(quality, words)
    found = [_intercepts(quality[rows], words[rows]) for rows in _draws(len(quality), seed, resamples)]
    low, high = np.quantile(np.concatenate(found), [TAIL, 1 - TAIL])
    return Interval(float(_intercepts(quality[None], words[None])[0]), float(low), float(high), len(quality))


def _intercepts(quality: Numbers, words: Numbers) -> Numbers:
    centred = words - words.mean(axis=1, keepdims=True)
    spread = (centred**2).sum(axis=1)
    slope = (centred * quality).sum(axis=1) / np.where(spread > 0, spread, 1.0)
    return quality.mean(axis=1) - slope * words.mean(axis=1)


def _check_pairs(first: Numbers, second: Numbers) -> None:
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        message = f"Both must be (N,) with N at least 1, got {first.shape} and {second.shape}."
        raise ValueError(message)


def _draws(n: int, seed: int, resamples: int) -> list[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    at_once = max(1, CHUNK // n)
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return [generator.integers(0, n, size=(size, n)) for size in sizes]
