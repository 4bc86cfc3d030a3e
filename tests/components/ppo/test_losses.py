"""The clipped objectives against values worked out by hand, and a plain float64 loop."""

from __future__ import annotations

import math

import pytest
import torch

from components.ppo.losses import entropy, policy_loss, response_mean, value_loss


def test_policy_loss_and_clip_fraction_equal_hand_computed_values():
    """ε = 1/4.

    ρ = 1.5,   A = 2:  min(3, 1.25 * 2 = 2.5)      = 2.5    clipped
    ρ = 0.5,   A = -4: min(-2, 0.75 * -4 = -3)     = -3     clipped
    ρ = 1.125, A = 3:  3.375                                within
    ρ = 0.5,   A = 5:  min(2.5, 0.75 * 5 = 3.75)   = 2.5    outside, but the clip does not decide
    Mean 5.375 / 4 = 1.34375. The fifth token is padding.
    """
    old = torch.tensor([[-0.7, -1.3], [-2.1, -0.4], [-3.3, -9.0]])
    ratios = torch.tensor([[1.5, 0.5], [1.125, 0.5], [0.0, 7.0]])
    advantages = torch.tensor([[2.0, -4.0], [3.0, 5.0], [0.0, 11.0]])
    is_response = torch.tensor([[True, True], [True, True], [False, False]])

    loss, clipped = policy_loss(
        old + ratios.log().clamp(min=-9), old, advantages=advantages, is_response=is_response, clip_range=0.25
    )

    assert loss.item() == pytest.approx(-1.34375)
    assert clipped.item() == 0.5


def test_policy_loss_has_no_gradient_where_it_is_clipped():
    logprobs = torch.tensor([[math.log(1.5), math.log(1.125)]], requires_grad=True)
    is_response = torch.ones(1, 2, dtype=torch.bool)

    loss, _ = policy_loss(
        logprobs, torch.zeros(1, 2), advantages=torch.tensor([[2.0, 3.0]]), is_response=is_response, clip_range=0.25
    )
    loss.backward()

    assert logprobs.grad.tolist() == [[0.0, pytest.approx(-1.125 * 3 / 2)]]


def test_value_loss_equals_hand_computed_values():
    """ε = 2. V 7 from 4, R 9: max((7 - 9)², (6 - 9)²) = 9. V 3 from 2.5, R 5: 4. Half the mean: 3.25."""
    is_response = torch.tensor([[True, True, False]])

    loss = value_loss(
        torch.tensor([[7.0, 3.0, 50.0]]),
        torch.tensor([[4.0, 2.5, 0.0]]),
        returns=torch.tensor([[9.0, 5.0, -50.0]]),
        is_response=is_response,
        clip_range=2.0,
    )

    assert loss.item() == 3.25


def test_losses_equal_a_plain_loop_in_float64():
    torch.manual_seed(5)
    new, old, advantages, values, old_values, returns = torch.randn(6, 3, 7, dtype=torch.float64).unbind()
    is_response = torch.arange(7) < torch.tensor([[7], [4], [2]])
    expected_policy = expected_value = 0.0
    for row, length in enumerate((7, 4, 2)):
        for t in range(length):
            ratio, advantage = math.exp(new[row, t] - old[row, t]), advantages[row, t].item()
            expected_policy -= min(ratio * advantage, min(max(ratio, 0.7), 1.3) * advantage) / 13
            value, before, target = (part[row, t].item() for part in (values, old_values, returns))
            bounded = min(max(value, before - 0.3), before + 0.3)
            expected_value += max((value - target) ** 2, (bounded - target) ** 2) / 26

    policy, _ = policy_loss(new, old, advantages=advantages, is_response=is_response, clip_range=0.3)
    value = value_loss(values, old_values, returns=returns, is_response=is_response, clip_range=0.3)

    assert policy.item() == pytest.approx(expected_policy, rel=1e-12)
    assert value.item() == pytest.approx(expected_value, rel=1e-12)


def test_entropy_equals_hand_computed_value():
    """½, ¼, ¼: ½ ln 2 + ½ ln 4 = 1.5 ln 2. A constant added to all logits changes nothing."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log() + 3.0

    assert entropy(logits).item() == pytest.approx(1.5 * math.log(2))


def test_response_mean_ignores_nan_outside_the_response():
    values = torch.tensor([[2.0, math.nan], [7.0, 9.0]])

    assert response_mean(values, torch.tensor([[True, False], [True, True]])).item() == 6.0


def test_response_mean_of_no_token_is_refused():
    with pytest.raises(ValueError, match="has no True"):
        response_mean(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool))
