"""The layout of a batch, and that padding never changes what a model says about a sequence."""

from __future__ import annotations

import pytest
import torch

from components import models
from components.sequences import answer_output, left_padded, position_ids, right_padded, token_logprobs

PROMPTS, ANSWERS = [[5, 9, 12], [8], [21, 6]], [[7, 1], [40, 30, 22, 1], [1]]


def test_answers_are_padded_on_the_right():
    tokens, is_token = right_padded([[5], [6, 7, 8]], pad=3)

    assert tokens.tolist() == [[5, 3, 3], [6, 7, 8]]
    assert is_token.tolist() == [[True, False, False], [True, True, True]]


def test_positions_go_on_from_the_prompt_to_the_answer():
    _, is_prompt = left_padded(PROMPTS, pad=0)
    _, is_answer = right_padded(ANSWERS, pad=0)

    assert position_ids(torch.cat([is_prompt, is_answer], dim=1))[1].tolist() == [0, 0, 0, 1, 2, 3, 4]


def test_logits_and_states_of_a_batch_equal_those_of_each_sequence_alone(tiny_models):
    model = models.load_base(tiny_models["base_model"], as_type=torch.float32).double()
    prompts, is_prompt = left_padded(PROMPTS, pad=0)
    answers, is_answer = right_padded(ANSWERS, pad=0)

    logits, states = answer_output(model, prompts, is_prompt, answers, is_answer)

    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        alone = model(input_ids=torch.tensor([prompt + answer]), output_hidden_states=True)
        length, before, first = len(answer), len(prompt) - 1, sum(map(len, ANSWERS[:row]))
        torch.testing.assert_close(logits[first : first + length], alone.logits[0, before:-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(states[row, : length + 1], alone.hidden_states[-1][0, before:], atol=1e-5, rtol=1e-5)


def test_half_precision_logits_are_compared_in_float32():
    """In bfloat16, log-probabilities near -9 are 1/16 apart."""
    logits = torch.tensor([[9.0, 0.0]], dtype=torch.bfloat16)

    found = token_logprobs(logits, torch.tensor([1]))

    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(-9.000123, abs=1e-6)
