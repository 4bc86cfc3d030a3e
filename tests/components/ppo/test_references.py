"""Every formula against a plain loop in float64 on random numbers: lengths differ, and no constant is 0 or 1."""

from __future__ import annotations

import math

import pytest
import torch

from components.ppo.advantages import gae, whiten
from components.ppo.losses import entropy
from components.ppo.rewards import kl_k1, kl_k3, token_rewards
from components.ppo.rollout import draw
from components.sequences import token_logprobs

LENGTHS = (6, 1, 4)
IS_RESPONSE = torch.arange(6) < torch.tensor(LENGTHS)[:, None]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(17)


def _random(*shape):
    return torch.randn(shape, dtype=torch.float64)


def test_log_probabilities():
    logits, tokens = 3 * _random(5, 11), torch.randint(11, (5,))

    found = token_logprobs(logits, tokens, temperature=0.6)

    for row in range(5):
        scaled = [math.exp(value / 0.6) for value in logits[row].tolist()]
        assert found[row].item() == pytest.approx(math.log(scaled[tokens[row]] / math.fsum(scaled)), rel=1e-12)


def test_entropy_of_logits_and_of_what_was_drawn():
    logits = 3 * _random(5, 11)

    found = entropy(logits / 0.6)

    for row in range(5):
        scaled = [math.exp(value / 0.6) for value in logits[row].tolist()]
        shares = [value / math.fsum(scaled) for value in scaled]
        assert found[row].item() == pytest.approx(-math.fsum(p * math.log(p) for p in shares), rel=1e-12)
    _, _, drawn = draw(logits, torch.rand(5, dtype=torch.float64), temperature=0.6)
    torch.testing.assert_close(drawn, found)


def test_kl_estimators():
    policy, reference = -_random(3, 6).abs(), -_random(3, 6).abs()

    one, three = kl_k1(policy, reference), kl_k3(policy, reference)

    for row in range(3):
        for t in range(6):
            ratio = math.exp(reference[row, t]) / math.exp(policy[row, t])
            assert one[row, t].item() == pytest.approx(-math.log(ratio), rel=1e-9)
            assert three[row, t].item() == pytest.approx(ratio - 1 - math.log(ratio), rel=1e-9)


def test_kl_estimators_have_the_divergence_as_their_mean():
    """Four outcomes, summed over exactly: Σ p k1 = Σ p k3 = KL(p ‖ q)."""
    p, q = (torch.softmax(_random(1, 4), dim=1) for _ in range(2))
    exact = math.fsum(a * math.log(a / b) for a, b in zip(p[0].tolist(), q[0].tolist(), strict=True))

    assert (p * kl_k1(p.log(), q.log())).sum().item() == pytest.approx(exact, rel=1e-12)
    assert (p * kl_k3(p.log(), q.log())).sum().item() == pytest.approx(exact, rel=1e-12)


def test_token_rewards_and_advantages():
    """A_t = Σ (γλ)^l δ_{t+l} as a double sum, from r_t = -β kl_t and the score on the last token."""
    scores, kl, values = _random(3), _random(3, 6), _random(3, 6)
    discount, gae_lambda, kl_coef = 0.93, 0.71, 0.37

    each = token_rewards(scores, kl, IS_RESPONSE, kl_coef=kl_coef)
    found = gae(each, values * IS_RESPONSE, discount=discount, gae_lambda=gae_lambda)

    for row, length in enumerate(LENGTHS):
        paid = [-kl_coef * kl[row, t].item() + (scores[row].item() if t == length - 1 else 0) for t in range(length)]
        worth = [*values[row, :length].tolist(), 0.0]
        errors = [paid[t] + discount * worth[t + 1] - worth[t] for t in range(length)]
        for t in range(length):
            expected = math.fsum((discount * gae_lambda) ** (later - t) * errors[later] for later in range(t, length))
            assert found[row, t].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_whitening():
    values = _random(3, 6)

    found = whiten(values, IS_RESPONSE, epsilon=0.02)

    kept = [values[row, t].item() for row, length in enumerate(LENGTHS) for t in range(length)]
    mean = math.fsum(kept) / 11
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in kept) / 11 + 0.02)
    expected = [(value - mean) / deviation for value in kept]
    assert found[IS_RESPONSE].tolist() == pytest.approx(expected, rel=1e-12)
    assert not found[~IS_RESPONSE].any()
