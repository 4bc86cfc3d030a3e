"""What each token earns: the score of the whole answer on its last token, and the KL leash on every token.

Shapes: B responses, T response tokens. `is_response` is True from the first token to the end-of-sequence token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from components.ppo.losses import require_same_shape

if TYPE_CHECKING:
    from torch import Tensor


def kl_k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """(B, T) unbiased estimate of KL(policy ‖ reference) from sampled tokens; may be negative. In nats.

    k1 = log π - log π_ref. Source: http://joschu.net/blog/kl-approx.html
    """
    require_same_shape(logprobs=logprobs, reference_logprobs=reference_logprobs)
    return logprobs - reference_logprobs


def kl_k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """(B, T) unbiased estimate of KL(policy ‖ reference) with less variance; never negative. In nats.

    k3 = r - 1 - log r with r = π_ref / π. Source: http://joschu.net/blog/kl-approx.html
    """
    require_same_shape(logprobs=logprobs, reference_logprobs=reference_logprobs)
    log_ratio = reference_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def normalised(scores: Tensor, *, mean: float, std: float, clip: float) -> Tensor:
    """(B,) scores in standard deviations of the reward model's training answers, clipped to ± `clip`."""
    return ((scores - mean) / std).clamp(-clip, clip)


def with_eos_penalty(scores: Tensor, has_eos: Tensor, *, penalty: float) -> Tensor:
    """(B,) scores, less `penalty` where the answer did not end by itself.

    An answer cut off at the length limit is not an answer. Without a penalty the policy can keep talking, since the
    reward model was trained on finished answers only.
    """
    return torch.where(has_eos, scores, scores - penalty)


def token_rewards(scores: Tensor, kl: Tensor, is_response: Tensor, *, kl_coef: float) -> Tensor:
    """Reward of emitting each token.

        r_t = -β kl_t,  and the score on top of it on the last response token

    Args:
        scores: (B,) float, score of each whole answer. [reward]
        kl: (B, T) float, per-token estimate of KL(policy ‖ reference). [nat]
        is_response: (B, T) bool, True on response tokens.
        kl_coef: β ≥ 0. [reward/nat]

    Returns:
        (B, T) float, 0 after the end. [reward]

    Raises:
        ValueError: The shapes differ, or a response has no token.
    """
    require_same_shape(kl=kl, is_response=is_response)
    lengths = is_response.sum(dim=1)
    if int(lengths.min()) == 0:
        message = f"response {int(lengths.argmin())} has no token, so there is no last token to reward."
        raise ValueError(message)
    rewards = torch.where(is_response, -kl_coef * kl, torch.zeros_like(kl))
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, lengths - 1] += scores
    return rewards


def steered(kl_coef: float, kl_nats: float, *, target: float, answers: int, horizon: float) -> float:
    """The KL coefficient after an update whose answers had a KL of `kl_nats` each.

        β' = β (1 + clip(KL / target - 1, -0.2, 0.2) min(n / horizon, 1))

    Args:
        kl_coef: β. [reward/nat]
        kl_nats: Mean KL to the SFT policy, summed over an answer's tokens. [nat]
        target: What it is to be. 0: β stays as it is. [nat]
        answers: n, answers of the update.
        horizon: Answers in which β changes by a fifth at most.

    Source: Ziegler et al. 2019, https://arxiv.org/abs/1909.08593, section 2.2. The minimum is ours: an update of more answers
    than five horizons could turn β negative, which would pay for distance.
    """
    if target == 0:
        return kl_coef
    error = min(max(kl_nats / target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * min(answers / horizon, 1.0))
