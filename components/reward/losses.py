"""The Bradley–Terry loss. Shape: N pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

if TYPE_CHECKING:
    from torch import Tensor

NEWTON_STEPS = 20


def bradley_terry(first: Tensor, second: Tensor, *, share: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of all labels under Bradley–Terry, per label, in nats.

        P(first preferred) = σ(s₁ - s₂)
        L = -Σ n (p log P + (1 - p) log(1 - P)) / Σ n

    Args:
        first: (N,) float, scores of the responses named first.
        second: (N,) float, scores of the responses named second.
        share: (N,) float p, share of a pair's labels that prefer the first; a tie counts half.
        labels: (N,) float n, how many labels a pair has.

    Returns:
        The loss, a scalar. Equal to counting every label as a pair of its own.

    Source: Bradley and Terry 1952, https://doi.org/10.2307/2334029. Checked against hand-computed values in
    `tests/components/reward/test_losses.py`.
    """
    each = binary_cross_entropy_with_logits(first - second, share, reduction="none")
    return (labels * each).sum() / labels.sum()


def centring(first: Tensor, second: Tensor) -> Tensor:
    """Mean of (s₁ + s₂)²: Bradley–Terry sees only differences, so something must hold the scores near zero."""
    return (first + second).square().mean()


def best_weight(differences: Tensor, *, share: Tensor, labels: Tensor) -> float:
    """The weight of one feature that makes the labels likeliest under Bradley–Terry, with a prior of mean 0, variance 1.

        a = argmin Σ n (softplus(a d) - p a d) + a²/2, by Newton's method from 0 in steps of at most 1

    Args:
        differences: (N,) float64 d, the feature of the first response less that of the second, of the order of 1.
        share: (N,) float64 p, share of a pair's labels that prefer the first; a tie counts half.
        labels: (N,) float64 n, how many labels a pair has.

    Returns:
        a. The prior keeps it finite where the feature tells the labels apart without error.
    """
    weight = 0.0
    for _ in range(NEWTON_STEPS):
        chance = torch.sigmoid(weight * differences)
        slope = (labels * (chance - share) * differences).sum() + weight
        curvature = (labels * chance * (1 - chance) * differences.square()).sum() + 1
        weight -= max(-1.0, min(1.0, float(slope / curvature)))
    return weight
