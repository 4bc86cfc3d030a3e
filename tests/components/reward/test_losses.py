"""Bradley–Terry against values worked out by hand, and against one term a label."""

from __future__ import annotations

import math

import pytest
import torch

from components.reward.losses import best_weight, bradley_terry, centring


def test_bradley_terry_equals_hand_computed_value():
    """Differences ln 3 and -ln 4, so P = ¾ and ⅕.

    Two labels, both for the first: -2 ln ¾. Three labels, one and a half for the first: -3 (½ ln ⅕ + ½ ln ⅘).
    """
    first, second = torch.tensor([2 + math.log(3), 5.0]), torch.tensor([2.0, 5 + math.log(4)])

    loss = bradley_terry(first, second, share=torch.tensor([1.0, 0.5]), labels=torch.tensor([2.0, 3.0]))

    expected = -(2 * math.log(3 / 4) + 1.5 * math.log(1 / 5) + 1.5 * math.log(4 / 5)) / 5
    assert loss.item() == pytest.approx(expected)


def test_labels_of_a_pair_count_as_much_as_pairs_of_their_own():
    """Two labels for the first, one for the second: the same as three pairs, in float64."""
    first, second = torch.tensor([0.7], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)

    together = bradley_terry(
        first, second, share=torch.tensor([2 / 3], dtype=torch.float64), labels=torch.tensor([3.0], dtype=torch.float64)
    )

    chance = 1 / (1 + math.exp(-1.1))
    assert together.item() == pytest.approx(-(2 * math.log(chance) + math.log(1 - chance)) / 3, rel=1e-12)


def test_centring_is_the_mean_square_of_sums():
    """(2 + 3)² = 25 and (7 - 4)² = 9: mean 17."""
    assert centring(torch.tensor([2.0, 7.0]), torch.tensor([3.0, -4.0])).item() == 17.0


def test_best_weight_has_no_slope_left():
    """With d = (2, -0.5), p = (0.75, 1), n = (3, 2): Σ n (σ(a d) - p) d + a = 0 at the returned a."""
    differences, share, labels = (torch.tensor(each, dtype=torch.float64) for each in ((2.0, -0.5), (0.75, 1.0), (3.0, 2.0)))

    weight = best_weight(differences, share=share, labels=labels)

    first, second = 1 / (1 + math.exp(-2 * weight)), 1 / (1 + math.exp(0.5 * weight))
    assert 3 * (first - 0.75) * 2 + 2 * (second - 1.0) * -0.5 + weight == pytest.approx(0.0, abs=1e-12)
    assert weight != 0


def test_a_feature_that_says_nothing_gets_no_weight():
    differences, share, labels = (torch.tensor(each, dtype=torch.float64) for each in ((2.0, -3.0), (0.5, 0.5), (3.0, 2.0)))

    assert best_weight(differences, share=share, labels=labels) == 0.0
