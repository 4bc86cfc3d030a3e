"""Bradley–Terry against values worked out by hand, and against one term a label."""

from __future__ import annotations

import math

import pytest
import torch

from components.reward.losses import (
    best_weight,
    bradley_terry,
    centring,
    expected_share,
    group_losses,
    rao_kupper,
    worse_groups_first,
)


def test_bradley_terry_equals_hand_computed_value():
    """Differences ln 3 and -ln 4, so P = ¾ and ⅕: -0.9 ln ¾ - 0.1 ln ¼, and -½ ln ⅕ - ½ ln ⅘."""
    difference, none = torch.tensor([math.log(3), -math.log(4)]), torch.zeros(2)

    loss = bradley_terry(difference, share=torch.tensor([0.9, 0.5]), margin=none)

    one = -0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)
    other = -0.5 * math.log(1 / 5) - 0.5 * math.log(4 / 5)
    assert loss.tolist() == pytest.approx([one, other])


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


def _random(pairs=7):
    """Scores, shares, ties and margins that are neither 0 nor 1, in float64."""
    generator = torch.Generator().manual_seed(3)
    first, second, share, ties, margin = torch.rand((5, pairs), dtype=torch.float64, generator=generator)
    ties = 0.6 * ties * torch.minimum(share, 1 - share)
    return 3 * first - 2 * second, share, ties, margin


def test_the_three_chances_of_rao_and_kupper_add_up_to_one_and_a_tie_is_what_is_left():
    """exp(-L) of a label for the first, a tie, and a label for the second, at d = 0.7 and η = 0.4."""
    difference, threshold, none = torch.tensor(0.7).double(), torch.tensor(0.4).double(), torch.tensor(0.0).double()

    first, tie, second = (
        math.exp(
            -rao_kupper(
                difference,
                share=torch.tensor(share).double(),
                ties=torch.tensor(ties).double(),
                threshold=threshold,
                margin=none,
            )
        )
        for share, ties in ((1.0, 0.0), (0.5, 1.0), (0.0, 0.0))
    )

    assert first == pytest.approx(1 / (1 + math.exp(0.4 - 0.7)))
    assert second == pytest.approx(1 / (1 + math.exp(0.4 + 0.7)))
    assert tie == pytest.approx(1 - first - second)


def test_rao_kupper_equals_counting_label_by_label_in_float64():
    difference, share, ties, margin = _random()
    found = rao_kupper(difference, share=share, ties=ties, threshold=torch.tensor(0.3, dtype=torch.float64), margin=margin)

    for row in range(7):
        d, p, t, m = (float(each[row]) for each in (difference, share, ties, margin))
        theta = math.exp(0.3)
        wins = {sign: 1 / (1 + theta * math.exp(m - sign * d)) for sign in (1, -1)}
        one, other = math.exp(d), 1.0
        tied = (theta**2 - 1) * one * other / ((one + theta * other) * (theta * one + other))
        expected = -(p - t / 2) * math.log(wins[1]) - (1 - p - t / 2) * math.log(wins[-1]) - t * math.log(tied)
        assert found[row].item() == pytest.approx(expected, rel=1e-12)


def test_a_margin_asks_for_a_lead():
    """d = 1.25, m = 0.75: -0.8 ln σ(0.5) - 0.2 ln σ(-2)."""
    found = bradley_terry(torch.tensor([1.25]), share=torch.tensor([0.8]), margin=torch.tensor([0.75]))

    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731  (as in the docstring)
    assert found.item() == pytest.approx(-0.8 * math.log(sigmoid(0.5)) - 0.2 * math.log(sigmoid(-2.0)), rel=1e-6)


@pytest.mark.parametrize("name", ["rao_kupper", "bradley_terry", "centring"])
def test_gradients_equal_finite_differences(name):
    """By autograd against (L(x + h) - L(x - h)) / 2h in float64, for scores and for the threshold."""
    difference, share, ties, margin = _random()
    difference.requires_grad_()
    threshold = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss = {
        "rao_kupper": lambda d, eta: rao_kupper(d, share=share, ties=ties, threshold=eta, margin=margin),
        "bradley_terry": lambda d, eta: bradley_terry(d, share=share, margin=margin) * eta,
        "centring": lambda d, eta: centring(d, 0.7 * d.flip(0)) * eta,
    }[name]

    assert torch.autograd.gradcheck(loss, (difference, threshold))


def test_the_expected_share_counts_a_tie_half():
    """At d = 0.7, η = 0.4: P(first) = σ(0.3), P(second) = σ(-1.1), so P(first) + P(tie) / 2 = (1 + 0.574 - 0.250) / 2."""
    assert expected_share(0.7, 0.4) == pytest.approx((1 + 0.574443 - 0.249740) / 2, abs=1e-5)
    assert expected_share(math.log(3), 0.0) == pytest.approx(0.75)


def test_group_losses_are_means_over_a_groups_labels():
    """Group one: (2 · 0.5 + 3 · 4) / 5 = 2.6. Group two has labels on the second pair only: 7. Group three has none."""
    each = torch.tensor([[0.5, 9.0, 3.0], [4.0, 7.0, 3.0]])
    labels = torch.tensor([[2.0, 0.0, 0.0], [3.0, 5.0, 0.0]])

    assert group_losses(each, labels).tolist() == pytest.approx([2.6, 7.0, 0.0])


def test_weight_moves_to_the_group_that_fares_worst():
    """(0.25 e^0.3, 0.75 e^0.2), adding up to 1."""
    found = worse_groups_first(torch.tensor([0.25, 0.75]), torch.tensor([0.6, 0.4]), step=0.5)

    one, two = 0.25 * math.exp(0.3), 0.75 * math.exp(0.2)
    assert found.tolist() == pytest.approx([one / (one + two), two / (one + two)])
