"""What makes labels likely: Bradley–Terry, with ties and margins; and how much each group's labels count.

Shapes: N pairs, G groups of annotators.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

if TYPE_CHECKING:
    from torch import Tensor

NEWTON_STEPS = 20


def rao_kupper(difference: Tensor, *, share: Tensor, ties: Tensor, threshold: Tensor, margin: Tensor) -> Tensor:
    """Negative log-likelihood of a pair's labels where ties are a third outcome, per label, in nats.

        P(first)  = σ(d - η - m)          P(second) = σ(-d - η - m)
        P(tie)    = (exp(2η) - 1) σ(d - η) σ(-d - η)
        L = -(p - t/2) log P(first) - (1 - p - t/2) log P(second) - t log P(tie)

    With m = 0 the three add up to 1; η = ln θ of the source. A margin m asks for more than the model's own threshold from the
    pairs whose labels are strong, and is no part of the probability.

    Args:
        difference: (N, ...) float d, score of the first answer less that of the second.
        share: (N, ...) float p, share of the labels that prefer the first; a tie counts half.
        ties: (N, ...) float t, share of the labels that are ties.
        threshold: η > 0, a scalar: the difference below which a tie is likeliest is about 2η wide.
        margin: (N, ...) float m ≥ 0.

    Returns:
        (N, ...) float, each pair's loss.

    Source: Rao and Kupper 1967, https://doi.org/10.2307/2282923; the margin is that of Touvron et al. 2023,
    https://arxiv.org/abs/2307.09288, eq. 2. Checked against float64 and finite differences in
    `tests/components/reward/test_losses.py`.
    """
    first, second = share - ties / 2, 1 - share - ties / 2
    decided = first * logsigmoid(difference - threshold - margin) + second * logsigmoid(-difference - threshold - margin)
    tied = torch.log(torch.expm1(2 * threshold)) + logsigmoid(difference - threshold) + logsigmoid(-difference - threshold)
    return -(decided + ties * tied)


def bradley_terry(difference: Tensor, *, share: Tensor, margin: Tensor) -> Tensor:
    """Negative log-likelihood of a pair's labels under Bradley–Terry, per label, in nats, where labels may ask for a lead.

        P(first preferred) = σ(d)
        L = -p log σ(d - m) - (1 - p) log σ(-d - m)

    Args:
        difference: (N, ...) float d, score of the first answer less that of the second.
        share: (N, ...) float p, share of the labels that prefer the first; a tie counts half.
        margin: (N, ...) float m ≥ 0, the lead; with 0 this is the likelihood.

    Returns:
        (N, ...) float, each pair's loss. Weighed by labels, equal to counting every label as a pair of its own.

    Source: Bradley and Terry 1952, https://doi.org/10.2307/2334029. Checked against hand-computed values in
    `tests/components/reward/test_losses.py`.
    """
    return -(share * logsigmoid(difference - margin) + (1 - share) * logsigmoid(-difference - margin))


def expected_share(difference: float, threshold: float) -> float:
    """The share of labels for the first answer that a difference of scores foretells; a tie counts half.

    Rao–Kupper's P(first) + P(tie) / 2 = (1 + P(first) - P(second)) / 2; Bradley–Terry's chance where the threshold is 0.
    """
    first, second = (0.5 * (1 + math.tanh((sign * difference - threshold) / 2)) for sign in (1, -1))
    return (1 + first - second) / 2


def group_losses(each: Tensor, labels: Tensor) -> Tensor:
    """(N, G) loss and number of labels of each pair in each group → (G,) mean loss of a group's labels; 0 where it has none."""
    return (labels * each).sum(dim=0) / labels.sum(dim=0).clamp(min=torch.finfo(labels.dtype).tiny)


def worse_groups_first(weights: Tensor, group_loss: Tensor, *, step: float) -> Tensor:
    """Group DRO's weights after one update: q_g ∝ q_g exp(step L_g), adding up to 1.

    Args:
        weights: (G,) float q, above 0, adding up to 1.
        group_loss: (G,) float L, mean loss of each group's labels in a batch, times how much of them it has: 0 where it has
            none, and on average over batches the group's loss. [nats]
        step: How fast weight moves to the group that fares worst. [1/nat]

    Source: Sagawa et al. 2020, https://arxiv.org/abs/1911.08731, algorithm 1.
    """
    return torch.softmax(torch.log(weights) + step * group_loss, dim=0)


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
