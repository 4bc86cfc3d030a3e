"""Estimators, normalisation, penalties and the reward of each token."""

from __future__ import annotations

import math

import pytest
import torch

from components.ppo.rewards import kl_k1, kl_k3, normalised, token_rewards, with_eos_penalty


def test_kl_estimators_equal_hand_computed_values():
    """π = ½, π_ref = ¼: k1 = ln 2, k3 = ½ - 1 + ln 2. π = ¼, π_ref = ¾: k1 = -ln 3, k3 = 3 - 1 - ln 3."""
    policy, reference = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.25, 0.75]]).log()

    assert kl_k1(policy, reference)[0].tolist() == pytest.approx([math.log(2), -math.log(3)])
    assert kl_k3(policy, reference)[0].tolist() == pytest.approx([math.log(2) - 0.5, 2 - math.log(3)])


def test_both_estimators_average_to_the_true_divergence():
    """Weighted with the policy's probabilities, each is Σ π log(π / π_ref), here in float64."""
    policy = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    reference = torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.float64)
    truth = sum(p * math.log(p / q) for p, q in zip(policy[0].tolist(), reference[0].tolist(), strict=True))

    for estimator in (kl_k1, kl_k3):
        assert (policy * estimator(policy.log(), reference.log())).sum().item() == pytest.approx(truth, rel=1e-12)


def test_scores_are_standardised_then_clipped():
    """(7 - 3) / 2 = 2; (-9 - 3) / 2 = -6, clipped to -2.5."""
    assert normalised(torch.tensor([7.0, -9.0]), mean=3.0, std=2.0, clip=2.5).tolist() == [2.0, -2.5]


def test_only_answers_without_an_end_pay_the_penalty():
    scores = with_eos_penalty(torch.tensor([3.0, 5.0]), torch.tensor([True, False]), penalty=0.75)

    assert scores.tolist() == [3.0, 4.25]


def test_score_falls_on_the_last_response_token_and_kl_on_each():
    """β = ⅛. First: -0.0625, 7 - 0.03125. Second: -0.5, -2, -3 - 4 = -7. The 8 lies after the end."""
    kl = torch.tensor([[0.5, 0.25, 8.0], [4.0, 16.0, 32.0]])
    is_response = torch.tensor([[True, True, False], [True, True, True]])

    rewards = token_rewards(torch.tensor([7.0, -3.0]), kl, is_response, kl_coef=0.125)

    assert rewards.tolist() == [[-0.0625, 6.96875, 0.0], [-0.5, -2.0, -7.0]]


def test_a_response_without_tokens_is_refused():
    is_response = torch.tensor([[True, False], [False, False]])

    with pytest.raises(ValueError, match="response 1 has no token"):
        token_rewards(torch.tensor([7.0, -3.0]), torch.ones(2, 2), is_response, kl_coef=0.125)
