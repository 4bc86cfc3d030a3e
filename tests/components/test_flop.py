"""The counted cost of fine-tuning and of the reward model's training against what PyTorch counts while it computes.

With PEFT's own layers: the lean ones do the same products, but add one in place, which the counter does not see.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from components import models, packing, rewardmodel
from components.rewardmodel import Answered, ScoreHead

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "intermediate_size": 172,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32,
}


@pytest.fixture
def model():
    torch.manual_seed(3)
    base = models.freeze(LlamaForCausalLM(LlamaConfig(**SHAPE)))
    return models.new_adapter(base, name="any", rank=8, alpha=16.0)


def _fine_tuning_costs_what_is_counted(model):
    """Two sequences of eight tokens; the loss reads the logits of all of them."""
    ids = torch.randint(96, (2, 8))

    with FlopCounterMode(display=False) as forwards:
        loss = model(input_ids=ids, labels=ids).loss
    with FlopCounterMode(display=False) as backwards:
        loss.backward()

    counted = models.pass_flop(model, "any", tokens=16, answer_tokens=16)
    assert counted[0] == pytest.approx(forwards.get_total_flops(), rel=0.05)
    assert counted[1] == pytest.approx(backwards.get_total_flops(), rel=0.05)


def test_fine_tuning_costs_what_is_counted(model):
    _fine_tuning_costs_what_is_counted(model)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")  # PEFT sets it then
def test_the_linear_layers_of_gpt_2_count_though_they_are_called_convolutions():
    """Their weights are (inputs, outputs), and their class is no `nn.Linear`."""
    torch.manual_seed(3)
    shape = {"vocab_size": 96, "n_embd": 64, "n_layer": 6, "n_head": 4, "n_positions": 32}
    base = models.freeze(GPT2LMHeadModel(GPT2Config(**shape)).eval())

    _fine_tuning_costs_what_is_counted(models.new_adapter(base, name="any", rank=8, alpha=16.0))


def test_training_a_reward_model_costs_what_is_counted(model):
    """Prompts of 8 and 5 tokens, each once; answers of 4, 3, 2 and 5 tokens: 27 tokens, 14 of them answers'."""
    packing.enable(model.get_base_model())
    prompts = [[5, 9, 12, 8, 7, 30, 2, 4], [8, 7, 30, 2, 4]]
    answers = [([7, 10, 22, 1], [40, 3, 1]), ([40, 1], [50, 51, 52, 53, 1])]
    pairs = [
        (Answered(prompt, first), Answered(prompt, second)) for prompt, (first, second) in zip(prompts, answers, strict=True)
    ]
    head = ScoreHead(64)
    torch.nn.init.normal_(head.weight)
    torch.nn.init.ones_(head.likelihood_weight)

    with FlopCounterMode(display=False) as forwards:
        scores = rewardmodel.pair_scores(model, head, pairs, pad=0)
    with FlopCounterMode(display=False) as backwards:
        scores.sum().backward()

    counted = models.pass_flop(model, "any", tokens=27, answer_tokens=14)
    assert counted[0] == pytest.approx(forwards.get_total_flops(), rel=0.05)
    assert counted[1] == pytest.approx(backwards.get_total_flops(), rel=0.05)
