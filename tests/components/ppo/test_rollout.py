"""Sampling: what is drawn, with which log-probability, and that padding never changes it."""

from __future__ import annotations

import math

import pytest
import torch

from components import models
from components.ppo import actors as acting
from components.ppo.rollout import draw, sample, until_eos
from components.sequences import left_padded, position_ids, token_logprobs

PROMPTS = [[5, 9, 12, 30, 7], [8, 14], [21, 6, 40]]


def _policy(tiny_models):
    base = models.load_base(tiny_models["base_model"], as_type=torch.float32)
    return models.load_adapter(base, tiny_models["sft_adapter"], name=acting.REFERENCE).eval()


def _sample(model, prompts, uniforms, temperature=0.8):
    return sample(model, prompts, uniforms=uniforms, temperature=temperature, eos=1, pad=0)


def _uniforms(rows, tokens=12):
    return torch.rand((rows, tokens), dtype=torch.float64, generator=torch.Generator().manual_seed(11))


def test_prompts_are_padded_on_the_left_and_positions_count_from_their_own_first_token():
    tokens, is_token = left_padded([[5, 6, 7], [8]], pad=3)

    assert tokens.tolist() == [[5, 6, 7], [3, 3, 8]]
    assert is_token.tolist() == [[True, True, True], [False, False, True]]
    assert position_ids(is_token).tolist() == [[0, 1, 2], [0, 0, 0]]


def test_a_response_ends_with_its_first_end_token_which_counts():
    is_response, has_eos = until_eos(torch.tensor([[4, 2, 6, 2], [2, 5, 5, 5], [7, 8, 9, 7]]), eos=2)

    assert is_response.tolist() == [[True, True, False, False], [True, False, False, False], [True, True, True, True]]
    assert has_eos.tolist() == [True, True, False]


def test_log_probabilities_are_taken_at_the_temperature():
    """Logits 2 ln 3 and 2 ln 5 at temperature 2 stand for 3/8 and 5/8."""
    logits = torch.tensor([[2 * math.log(3), 2 * math.log(5)]])

    assert token_logprobs(logits, torch.tensor([1]), temperature=2.0).item() == pytest.approx(math.log(5 / 8))


def test_a_token_is_drawn_where_the_cumulative_distribution_passes_the_uniform_number():
    """Probabilities 0, ¼, 0, ¼, ¼, ¼, exact for equal logits: below ¼ the second, from ¼ on the fourth; never one of 0.

    Logarithms of ¼ and ¾ would not do: in float32 they stand for a little more than ¼.
    """
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, 0.0, 0.0]).expand(5, 6)
    uniforms = torch.tensor([0.0, 0.2, math.nextafter(0.25, 0), 0.25, 1 - 2**-53], dtype=torch.float64)

    drawn, _, _ = draw(logits, uniforms, temperature=1.0)

    assert drawn.tolist() == [1, 1, 1, 3, 5]


def test_what_is_drawn_comes_with_its_log_probability_and_the_entropy():
    """Logits 2 ln of ½, ¼, 0, ¼ at temperature 2: entropy 1.5 ln 2."""
    logits = 2 * torch.tensor([[0.5, 0.25, 0.0, 0.25]], dtype=torch.float64).log()

    drawn, logprob, entropy = draw(logits, torch.tensor([0.6], dtype=torch.float64), temperature=2.0)

    assert drawn.tolist() == [1]
    assert logprob.item() == pytest.approx(math.log(0.25), rel=1e-12)
    assert entropy.item() == pytest.approx(1.5 * math.log(2), rel=1e-12)


def test_a_sequence_is_answered_the_same_alone_and_in_a_batch(tiny_models):
    model, uniforms = _policy(tiny_models), _uniforms(3)

    together = _sample(model, PROMPTS, uniforms)

    for row, prompt in enumerate(PROMPTS):
        alone = _sample(model, [prompt], uniforms[row : row + 1])
        length = int(alone.is_response.sum())
        assert together.is_response[row].sum() == length
        assert torch.equal(together.responses[row, :length], alone.responses[0, :length])
        torch.testing.assert_close(together.logprobs[row, :length], alone.logprobs[0, :length], atol=1e-5, rtol=1e-5)


def test_sampling_log_probabilities_equal_those_of_a_whole_forward_pass(tiny_models):
    """The cache, dropped rows and positions of the sampler against one pass over each whole sequence, in float64."""
    model = _policy(tiny_models)
    rollout = _sample(model, PROMPTS, _uniforms(3))
    model.double()

    for row, prompt in enumerate(PROMPTS):
        response = rollout.responses[row, rollout.is_response[row]]
        logits = model(input_ids=torch.cat([torch.tensor(prompt), response])[None]).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / 0.8, dim=-1).gather(1, response[:, None])[:, 0]
        found = rollout.logprobs[row, rollout.is_response[row]].double()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_rows_are_cut_to_what_they_use(tiny_models):
    rollout = _sample(_policy(tiny_models), PROMPTS, _uniforms(3))

    part = rollout.rows(torch.tensor([1]))

    assert part.prompts.tolist() == [PROMPTS[1]]
    assert part.responses.shape[1] == int(rollout.is_response[1].sum())
    assert bool(part.is_response.all())


def test_in_half_precision_log_probabilities_stay_close_to_those_of_a_whole_pass(tiny_models):
    """The cache is float32 there and the adapter is converted once; bfloat16 has eight bits."""
    base = models.load_base(tiny_models["base_model"], as_type=torch.bfloat16)
    model = models.quicken(models.load_adapter(base, tiny_models["sft_adapter"], name=acting.REFERENCE).eval())
    rollout = _sample(model, PROMPTS, _uniforms(3))

    for row, prompt in enumerate(PROMPTS):
        response = rollout.responses[row, rollout.is_response[row]]
        logits = model(input_ids=torch.cat([torch.tensor(prompt), response])[None]).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits.float() / 0.8, dim=-1).gather(1, response[:, None])[:, 0]
        torch.testing.assert_close(rollout.logprobs[row, rollout.is_response[row]], expected, atol=0.05, rtol=0.02)


def test_packed_decoding_answers_as_padded_decoding_does(tiny_models):
    """The first without a cache of its own and the lean layers, the second with; twenty prompts, so that some leave early."""
    prompts, uniforms = [[4 + row, 9, *range(5, 5 + row % 4)] for row in range(20)], _uniforms(20)
    padded = _sample(_policy(tiny_models), prompts, uniforms)
    packed = _sample(models.quicken(_policy(tiny_models)), prompts, uniforms)

    assert packed.responses.equal(padded.responses)
    assert packed.has_eos.any()
    torch.testing.assert_close(packed.logprobs, padded.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed.entropies, padded.entropies, atol=1e-5, rtol=1e-5)
