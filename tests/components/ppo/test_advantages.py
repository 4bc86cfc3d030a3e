"""Advantages against values worked out by hand, and against a sum over the future in float64."""

from __future__ import annotations

import pytest
import torch

from components.ppo.advantages import gae, whiten


def test_gae_equals_hand_computed_values():
    """γ = 1/2, λ = 1/4, so γλ = 1/8.

    First response, three tokens: δ = (7 + 3 - 4, 3 + 4 - 6, 5 - 8) = (6, 1, -3);
    A₃ = -3, A₂ = 1 - 3/8 = 0.625, A₁ = 6 + 0.625/8 = 6.078125.
    Second, two tokens: δ = (-4 + 5 - 3, 9 - 10) = (-2, -1); A₂ = -1, A₁ = -2 - 1/8 = -2.125.
    """
    rewards = torch.tensor([[7.0, 3.0, 5.0], [-4.0, 9.0, 0.0]])
    values = torch.tensor([[4.0, 6.0, 8.0], [3.0, 10.0, 0.0]])

    advantages = gae(rewards, values, discount=0.5, gae_lambda=0.25)

    assert advantages.tolist() == [[6.078125, 0.625, -3.0], [-2.125, -1.0, 0.0]]


def test_gae_equals_the_sum_of_discounted_errors_in_float64():
    """A_t = Σ_k (γλ)^k δ_{t+k}, summed forwards instead of by recursion."""
    torch.manual_seed(3)
    rewards, values = torch.randn(4, 9, dtype=torch.float64), torch.randn(4, 9, dtype=torch.float64)
    discount, gae_lambda = 0.9, 0.7

    later = torch.cat([values[:, 1:], torch.zeros(4, 1, dtype=torch.float64)], dim=1)
    errors = rewards + discount * later - values
    expected = torch.stack(
        [sum((discount * gae_lambda) ** k * errors[:, t + k] for k in range(9 - t)) for t in range(9)], dim=1
    )

    torch.testing.assert_close(gae(rewards, values, discount=discount, gae_lambda=gae_lambda), expected)


def test_gae_is_not_changed_by_padding():
    rewards, values = torch.tensor([[2.0, 7.0]]), torch.tensor([[3.0, 5.0]])
    padded = torch.nn.functional.pad

    short = gae(rewards, values, discount=0.5, gae_lambda=0.25)
    long = gae(padded(rewards, (0, 4)), padded(values, (0, 4)), discount=0.5, gae_lambda=0.25)

    assert torch.equal(long[:, :2], short)
    assert torch.equal(long[:, 2:], torch.zeros(1, 4))


def test_gae_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match=r"rewards \(2, 3\), values \(1, 3\)"):
        gae(torch.ones(2, 3), torch.ones(1, 3), discount=0.5, gae_lambda=0.25)


def test_whitening_uses_response_tokens_only():
    """2, 6, 10, 14: mean 8, variance (36 + 4 + 4 + 36) / 4 = 20, so ±6/√20 and ±2/√20. The 99s are padding."""
    values = torch.tensor([[2.0, 6.0, 10.0], [14.0, 99.0, 99.0]])
    is_response = torch.tensor([[True, True, True], [True, False, False]])

    white = whiten(values, is_response)

    expected = torch.tensor([[-1.3416408, -0.4472136, 0.4472136], [1.3416408, 0.0, 0.0]])
    torch.testing.assert_close(white, expected)


def test_whitening_equal_values_gives_zeros_not_nan():
    is_response = torch.tensor([[True, True], [True, False]])

    assert torch.equal(whiten(torch.full((2, 2), 5.0), is_response), torch.zeros(2, 2))
