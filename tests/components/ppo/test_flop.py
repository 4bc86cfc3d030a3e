"""The counted cost of passes against what PyTorch counts while it computes."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from components import layers, models, packing
from components.sequences import answer_logits, entering_states, left_padded, right_padded, token_logprobs

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


def test_the_flop_of_the_layers_that_train_are_those_of_pytorch_to_five_percent():
    """The states of three of six layers are known, and the last layer is computed at the tokens that are read: 6 of 14."""
    torch.manual_seed(3)
    model = models.new_adapter(models.freeze(LlamaForCausalLM(LlamaConfig(**SHAPE))), name="policy", rank=8, alpha=16.0)
    base = model.get_base_model()
    packing.enable(base)
    layers.enable(base)
    assert layers.split(base, 3)
    for name, value in model.named_parameters():
        value.requires_grad_(any(f".layers.{layer}." in name for layer in (3, 4, 5)) and "lora_" in name)
    prompts, is_prompt = left_padded([[5, 9, 12], [8, 7, 30, 2, 4]], pad=0)
    answers, is_answer = right_padded([[7, 10, 22, 1], [40, 1]], pad=0)
    _, states = entering_states(model, prompts, is_prompt, answers, is_answer)

    with FlopCounterMode(display=False) as forwards:
        logits = answer_logits(model, prompts, is_prompt, answers, is_answer, entering=states.detach())
    with FlopCounterMode(display=False) as backwards:
        token_logprobs(logits, answers[is_answer]).sum().backward()

    counted = models.pass_flop(model, "policy", tokens=14, answer_tokens=6, above=3)
    assert counted[0] == pytest.approx(forwards.get_total_flops(), rel=0.05)
    unneeded = 2 * 14 * 3 * 64 * 64  # of the inputs of the lowest layer's queries, keys and values, which take no gradient
    assert counted[1] - unneeded == pytest.approx(backwards.get_total_flops(), rel=0.05)


def test_experts_count_as_often_as_a_token_is_sent_to_one():
    """Two of four experts, each of which is part of one tensor, and has no adapter."""
    torch.manual_seed(3)
    shape = SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "eager"}
    base = models.freeze(MixtralForCausalLM(MixtralConfig(**shape, sliding_window=None)).eval())
    of_attention = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, of_attention, adapter_name="policy")

    with FlopCounterMode(display=False) as forwards:
        logits = model(input_ids=torch.randint(96, (2, 8))).logits
    with FlopCounterMode(display=False) as backwards:
        logits.sum().backward()

    counted = models.pass_flop(model, "policy", tokens=16, answer_tokens=16)
    assert counted[0] == pytest.approx(forwards.get_total_flops(), rel=0.05)
    assert counted[1] == pytest.approx(backwards.get_total_flops(), rel=0.05)
