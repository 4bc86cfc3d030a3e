"""From rewards and values to what each token was worth. Shapes: B responses, T response tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from components.ppo.losses import require_same_shape, response_mean

if TYPE_CHECKING:
    from torch import Tensor


def gae(rewards: Tensor, values: Tensor, *, discount: float, gae_lambda: float) -> Tensor:
    """Generalized advantage estimates of finished responses.

        δ_t = r_t + γ V_{t+1} - V_t,  V_T = 0
        A_t = δ_t + γλ A_{t+1},       A_T = 0

    Args:
        rewards: (B, T) float, reward of emitting token t; 0 after the end. [reward]
        values: (B, T) float, value of the state before token t; 0 after the end. [reward]
        discount: γ in [0, 1].
        gae_lambda: λ in [0, 1]. 0 gives the one-step error, 1 the full return.

    Returns:
        (B, T) float advantages, not whitened. [reward]

    Raises:
        ValueError: The shapes differ or are not two-dimensional.

    Source: Schulman et al. 2016, https://arxiv.org/abs/1506.02438, eq. 16. Checked against
    hand-computed values in `tests/components/ppo/test_advantages.py`.
    """
    require_same_shape(rewards=rewards, values=values)
    advantages = torch.zeros_like(rewards)
    later_advantage = torch.zeros_like(rewards[:, 0])
    later_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        error = rewards[:, t] + discount * later_value - values[:, t]
        later_advantage = error + discount * gae_lambda * later_advantage
        later_value = values[:, t]
        advantages[:, t] = later_advantage
    return advantages


def whiten(values: Tensor, is_response: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over response tokens; 0 elsewhere.

        (x - mean) / sqrt(variance + ε), variance over n, not n - 1

    Args:
        values: (B, T) float.
        is_response: (B, T) bool, True on response tokens.
        epsilon: Keeps equal values, whose variance is 0, at 0.

    Returns:
        (B, T) float.

    Raises:
        ValueError: The shapes differ, or no token is a response token.
    """
    mean = response_mean(values, is_response)
    centred = (values - mean) * is_response
    variance = response_mean(centred.square(), is_response)
    return centred / torch.sqrt(variance + epsilon)
