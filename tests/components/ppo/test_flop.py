"""The counted cost of passes against what PyTorch counts while it computes."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from components import models, packing
from components.sequences import answer_logits, left_padded, right_padded, token_logprobs

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "intermediate_size": 172,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32,
}


def test_counted_flop_are_those_of_pytorch_to_five_percent():
    """Two adapters are loaded, one is active and counted; prompts of 3 and 5 tokens, answers of 4 and 2: 14 and 6 tokens.

    With PEFT's own layers: the lean ones do the same products, but add one in place, which the counter does not see.
    """
    torch.manual_seed(3)
    model = models.new_adapter(LlamaForCausalLM(LlamaConfig(**SHAPE)), name="other", rank=8, alpha=16.0)
    models.freeze(model)
    model = models.new_adapter(model, name="policy", rank=8, alpha=16.0)
    packing.enable(model.get_base_model())
    prompts, is_prompt = left_padded([[5, 9, 12], [8, 7, 30, 2, 4]], pad=0)
    answers, is_answer = right_padded([[7, 10, 22, 1], [40, 1]], pad=0)

    with FlopCounterMode(display=False) as forwards:
        logits = answer_logits(model, prompts, is_prompt, answers, is_answer)
    with FlopCounterMode(display=False) as backwards:
        token_logprobs(logits, answers[is_answer]).sum().backward()

    counted = models.pass_flop(model, "policy", tokens=14, answer_tokens=6)
    assert counted[0] == pytest.approx(forwards.get_total_flops(), rel=0.05)
    assert counted[1] == pytest.approx(backwards.get_total_flops(), rel=0.05)
