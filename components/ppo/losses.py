"""The clipped objectives, and averages over response tokens only. Shapes: B responses, T response tokens, V tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, *, advantages: Tensor, is_response: Tensor, clip_range: float
) -> tuple[Tensor, Tensor]:
    """What to minimise for the policy, and the share of response tokens on which the clip decides.

        ρ = exp(log π - log π_old)
        L = -mean min(ρ A, clip(ρ, 1 - ε, 1 + ε) A)

    Args:
        logprobs: (B, T) float, log-probabilities of the sampled tokens now. [nat]
        old_logprobs: (B, T) float, the same when they were sampled. [nat]
        advantages: (B, T) float.
        is_response: (B, T) bool, True on response tokens; the averages run over these.
        clip_range: ε in (0, 1).

    Returns:
        The loss and the clip fraction, both scalars. A token counts as clipped when its gradient is 0.

    Raises:
        ValueError: The shapes differ, or no token is a response token.

    Source: Schulman et al. 2017, https://arxiv.org/abs/1707.06347, eq. 7.
    """
    require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, is_response=is_response)
    ratio = torch.exp((logprobs - old_logprobs) * is_response)
    free = ratio * advantages
    bounded = ratio.clamp(1 - clip_range, 1 + clip_range) * advantages
    loss = -response_mean(torch.minimum(free, bounded), is_response)
    return loss, response_mean((bounded < free).to(ratio.dtype), is_response).detach()


def value_loss(values: Tensor, old_values: Tensor, *, returns: Tensor, is_response: Tensor, clip_range: float) -> Tensor:
    """What to minimise for the value head: squared error, with moves beyond the clip range earning nothing.

        L = ½ mean max((V - R)², (clip(V, V_old - ε, V_old + ε) - R)²)

    Args:
        values: (B, T) float, values now. [reward]
        old_values: (B, T) float, values when the tokens were sampled. [reward]
        returns: (B, T) float, what the values should have been. [reward]
        is_response: (B, T) bool, True on response tokens; the average runs over these.
        clip_range: ε > 0. [reward]

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: The shapes differ, or no token is a response token.

    Source: https://github.com/openai/baselines/blob/dfc86c9a43f67fc66013f59f66d03ac472501d71/baselines/ppo2/model.py#L65-L71
    """
    require_same_shape(values=values, old_values=old_values, returns=returns, is_response=is_response)
    bounded = torch.maximum(torch.minimum(values, old_values + clip_range), old_values - clip_range)
    worse = torch.maximum((values - returns).square(), (bounded - returns).square())
    return 0.5 * response_mean(worse, is_response)


def entropy(logits: Tensor) -> Tensor:
    """(..., V) logits → (...) entropy of the distribution they stand for, in nats."""
    logprobs = torch.log_softmax(logits, dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def response_mean(values: Tensor, is_response: Tensor) -> Tensor:
    """Mean of (B, T) values over response tokens, a scalar. What lies outside, NaN included, has no influence.

    Raises:
        ValueError: The shapes differ, or no token is a response token.
    """
    require_same_shape(values=values, is_response=is_response)
    tokens = int(is_response.sum())
    if tokens == 0:
        message = f"is_response of shape {tuple(is_response.shape)} has no True; a mean over no tokens is undefined."
        raise ValueError(message)
    return torch.where(is_response, values, torch.zeros_like(values)).sum() / tokens


def require_same_shape(**tensors: Tensor) -> None:
    """Broadcasting hides mistakes, so shapes are compared first.

    Raises:
        ValueError: The shapes differ, or are not (B, T).
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        message = f"all must be (B, T) of one shape, got {found}."
        raise ValueError(message)
