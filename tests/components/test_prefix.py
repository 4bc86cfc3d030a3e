"""A pair of answers with its prompt computed once: the same numbers as each answer by itself."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from components import packing, prefix, sequences

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24, "vocab_size": 50, "num_attention_heads": 4}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SMALL, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=4),
    "gemma": GemmaConfig(**SMALL, num_key_value_heads=1, head_dim=4),
    "gpt-neox": GPTNeoXConfig(**SMALL),
    "gpt2": GPT2Config(n_embd=16, n_layer=2, n_head=4, vocab_size=50),
    "mistral, sliding window": MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=4),
}
PROMPTS = [[3, 4, 5, 6, 7, 8], [9], [10, 11, 12]]
ANSWERS = [([20, 21, 22], [23]), ([24, 25], [26, 27, 28, 29]), ([30], [30])]


def _model(name):
    torch.manual_seed(4)
    model = Auto.from_config(CONFIGS[name], attn_implementation="sdpa").double().eval()
    packing.enable(model)
    return model


def _alone(model, prompt, answer):
    tokens = [torch.tensor([part]) for part in (prompt, answer)]
    masks = [torch.ones_like(part, dtype=torch.bool) for part in tokens]
    return sequences.answer_output(model, tokens[0], masks[0], tokens[1], masks[1])


@pytest.mark.parametrize("name", CONFIGS)
def test_each_answer_has_what_it_has_alone(name):
    """Logits and states of six sequences of different lengths, in float64; norms of some models round to float32."""
    model = _model(name)

    logits, states = prefix.pair_output(model, PROMPTS, ANSWERS, pad=0)

    begin = 0
    for row, (prompt, answer) in enumerate((PROMPTS[pair], answer) for pair in range(3) for answer in ANSWERS[pair]):
        own_logits, own_states = _alone(model, prompt, answer)
        torch.testing.assert_close(logits[begin : begin + len(answer)], own_logits, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(states[row, : len(answer) + 1], own_states[0], rtol=1e-4, atol=1e-6)
        assert not states[row, len(answer) + 1 :].any()
        begin += len(answer)
    assert begin == len(logits)


def test_the_prompt_is_in_the_row_once():
    """6 + 3 + 1, 1 + 2 + 4, 3 + 1 + 1: 22 tokens. Apart they would be 32."""
    plan = prefix.shared(PROMPTS, ANSWERS)

    assert plan.tokens.tolist() == [3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 9, 24, 25, 26, 27, 28, 29, 10, 11, 12, 30, 30]
    assert plan.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 0, 1, 2, 1, 2, 3, 4, 0, 1, 2, 3, 3]


def test_gradients_are_those_of_each_answer_alone():
    """The prompt's tokens get what comes back through both answers."""
    model = _model("llama")
    weights = torch.linspace(0.5, 2.0, sum(len(answer) for two in ANSWERS for answer in two), dtype=torch.float64)

    logits, _ = prefix.pair_output(model, PROMPTS, ANSWERS, pad=0)
    together = torch.autograd.grad((logits.logsumexp(dim=1) * weights).sum(), list(model.parameters()))

    alone = torch.cat([_alone(model, PROMPTS[pair], answer)[0] for pair in range(3) for answer in ANSWERS[pair]])
    apart = torch.autograd.grad((alone.logsumexp(dim=1) * weights).sum(), list(model.parameters()))
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_model_with_a_sliding_window_is_given_whole_sequences():
    assert packing.possible(_model("llama"))
    assert not packing.possible(_model("mistral, sliding window"))
