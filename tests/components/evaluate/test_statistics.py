from __future__ import annotations

import numpy as np
import pytest

from components.evaluate import statistics


def _shares(ones: int, n: int) -> np.ndarray:
    return np.array([1.0] * ones + [0.0] * (n - ones))


def test_wilson_by_hand() -> None:
    """7 of 20: p = 0.35, z² = 3.841459, scale = 1.192073.

    centre = (0.35 + 0.096036) / 1.192073 = 0.374169
    half = 1.959964 √(0.35·0.65/20 + 3.841459/1600) / 1.192073 = 1.959964 · 0.117371 / 1.192073 = 0.192977
    """
    found = statistics.wilson(7, 20)

    assert (found.value, found.n) == (0.35, 20)
    assert found.low == pytest.approx(0.181192, abs=2e-6)
    assert found.high == pytest.approx(0.567146, abs=2e-6)


def test_paired_shares_by_hand() -> None:
    """Ten items: the first model alone on three, the second alone on one; with the two added items 4 of 12 and 2 of 12.

    d~ = 2/12 = 1/6, half = 1.959964 √((6/12 - 1/36) / 12) = 1.959964 · 0.198373 = 0.388804
    """
    first = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=float)
    second = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 0], dtype=float)

    found = statistics.paired_shares(first, second)

    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(1 / 6 - 0.388804, abs=2e-6)
    assert found.high == pytest.approx(1 / 6 + 0.388804, abs=2e-6)


def test_paired_shares_stay_uncertain_where_nothing_happened() -> None:
    """A bootstrap would say 0 to 0 after 15 prompts."""
    found = statistics.paired_shares(_shares(0, 15), _shares(0, 15))

    assert found.value == 0.0
    assert found.high == pytest.approx(1.959964 * (2 / 17 / 17) ** 0.5, abs=1e-6)


def test_paired_shares_cover_the_truth() -> None:
    """Rates 0.3 and 0.2 on 30 prompts, independent: 95 % intervals should hold 0.1 about 95 times in 100."""
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        found = statistics.paired_shares((generator.random(30) < 0.3) * 1.0, (generator.random(30) < 0.2) * 1.0)
        held += found.low <= 0.1 <= found.high

    assert 0.935 < held / 2000 < 0.98


def test_bootstrap_of_a_mean_covers_the_truth() -> None:
    generator = np.random.default_rng(4)
    held = 0
    for draw in range(400):
        found = statistics.mean(generator.normal(2.5, 1.5, 60), seed=draw, resamples=400)
        held += found.low <= 2.5 <= found.high

    assert 0.91 < held / 400 < 0.98


def test_a_mean_of_equal_values_is_as_uncertain_as_its_span_allows() -> None:
    """1 - 0.025^(1/50) = 0.071122; a span of 2 makes 0.142243."""
    found = statistics.mean(np.zeros(50), seed=1, resamples=300, span=2.0)

    assert (found.low, found.high) == pytest.approx((-0.142243, 0.142243), abs=1e-6)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=40)

    one, two = (statistics.mean(values, seed=9, resamples=500) for _ in range(2))

    assert one == two
    assert one != statistics.mean(values, seed=10, resamples=500)


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios() -> None:
    """(2 + 30) / (4 + 10) = 16/7; the mean of 2/4 and 30/10 would be 1.75."""
    found = statistics.ratio(np.array([2.0, 30.0]), np.array([4.0, 10.0]), seed=0, resamples=300)

    assert found is not None
    assert found.value == pytest.approx(16 / 7)


def test_a_ratio_over_nothing_is_none() -> None:
    assert statistics.ratio(np.ones(3), np.zeros(3), seed=0, resamples=300) is None


def test_a_perplexity_ratio_counts_tokens() -> None:
    """Nats 12 and 9 against 10 and 8 over 5 and 3 tokens: exp((2 + 1) / 8)."""
    found = statistics.perplexity_ratio(
        np.array([12.0, 9.0]), np.array([10.0, 8.0]), np.array([5.0, 3.0]), seed=0, resamples=300
    )

    assert found.value == pytest.approx(np.exp(3 / 8))
    assert found.low <= found.value <= found.high


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="A proportion of nothing has no interval"):
        statistics.wilson(0, 0)
    with pytest.raises(ValueError, match="A mean of nothing has no interval"):
        statistics.mean(np.array([]), seed=0, resamples=200)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        statistics.paired_shares(np.ones(2), np.ones(3))


def test_mcnemar_by_hand() -> None:
    """The first alone right on 1, the second alone on 5, both on 3: (1 + 6) / 2⁶ = 0.109375; the other way 63/64."""
    first = np.array([1, 0, 0, 0, 0, 0, 1, 1, 1], dtype=float)
    second = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1], dtype=float)

    assert statistics.mcnemar(first, second) == pytest.approx(7 / 64)
    assert statistics.mcnemar(second, first) == pytest.approx(63 / 64)
    assert statistics.mcnemar(first, first) == 1.0


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.3: 4 · 0.01, 3 · 0.02, max(0.06, 2 · 0.03), 0.3; in the order given."""
    assert statistics.holm([0.3, 0.02, 0.01, 0.03]) == pytest.approx([0.3, 0.06, 0.04, 0.06])
    assert statistics.holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([]) == []


def test_a_bootstrap_p_value_is_small_where_all_is_worse_and_never_zero() -> None:
    worse = np.random.default_rng(2).normal(-1.5, 0.5, 40)

    assert statistics.bootstrap_p(worse, seed=1, resamples=499) == pytest.approx(1 / 500)
    assert statistics.bootstrap_p(-worse, seed=1, resamples=499) == 1.0
    assert statistics.bootstrap_p(np.zeros(7), seed=1, resamples=499) == 1.0
    assert statistics.bootstrap_p(np.full(7, -0.3), seed=1, resamples=499) == pytest.approx(1 / 500)


def test_bootstrap_p_values_are_rarely_small_where_nothing_is_worse() -> None:
    generator = np.random.default_rng(5)
    small = sum(statistics.bootstrap_p(generator.normal(0, 1.5, 60), seed=draw, resamples=400) < 0.05 for draw in range(400))

    assert 0.02 < small / 400 < 0.09


def test_quality_at_equal_length_by_hand() -> None:
    """Quality is 0.2 + 0.1 a word: what is left at equal length is 0.2, though the mean difference is 0.5."""
    words = np.array([1.0, 2.0, 3.0, 6.0])

    found = statistics.at_equal_length(0.2 + 0.1 * words, words, seed=0, resamples=300)

    assert found.value == pytest.approx(0.2)
    assert float((0.2 + 0.1 * words).mean()) == pytest.approx(0.5)


def test_a_perplexity_counts_tokens() -> None:
    """Nats 12 and 9 over 5 and 3 tokens: exp(21 / 8)."""
    found = statistics.perplexity(np.array([12.0, 9.0]), np.array([5.0, 3.0]), seed=0, resamples=300)

    assert found.value == pytest.approx(np.exp(21 / 8))


@pytest.mark.parametrize("values", [[0.0, 1e-12], [0.0] * 23 + [1.0]])
def test_an_interval_is_never_narrower_than_where_nothing_was_seen_to_differ(values: list[float]) -> None:
    """Else a hair's difference between two items would show more than two equal ones do."""
    found, equal = (statistics.mean(np.array(each), seed=1, resamples=1000, span=2.0) for each in (values, [0.0] * len(values)))

    assert found.value - found.low >= equal.value - equal.low
    assert found.high - found.value >= equal.high - equal.value
