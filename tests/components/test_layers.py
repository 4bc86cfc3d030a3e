"""What is left out of a pass changes nothing that is read, and a model in which it would is left as it is."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from components import layers, packing
from components.reader import Reader
from components.sequences import answer_logits, answer_output, entering_states, left_padded, right_padded, token_logprobs

PROMPTS, ANSWERS = [[5, 9, 12], [8], [21, 6]], [[7, 1], [10, 30, 22, 1], [1]]
SHAPE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SHAPE, **EXPERTS, experts_implementation="eager")),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=4, n_head=4, n_positions=32)),
}


def _model(name):
    torch.manual_seed(4)
    model = MODELS[name]().double().eval()
    packing.enable(model)
    return model


def _batch():
    return *left_padded(PROMPTS, pad=0), *right_padded(ANSWERS, pad=0)


def _slopes(model, logits, answers, is_answer):
    parameters = [weight for part in layers.of(model)[2:] for weight in part.parameters()]
    return torch.autograd.grad(token_logprobs(logits, answers[is_answer]).sum(), parameters)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("block", [1, 8])
def test_what_nobody_reads_is_left_out_and_changes_nothing(name, block, monkeypatch):
    """Of 13 tokens, 16 in blocks, the last feed-forward network sees the 7 before answer tokens, and the 3 that are last."""
    monkeypatch.setattr(packing, "block_of", lambda _: block)
    model, batch = _model(name), _batch()
    seen: list[int] = []
    inner = next(layers.of(model)[-1].mlp.children())
    inner.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-2]))
    whole = answer_output(model, *batch)
    expected = _slopes(model, answer_logits(model, *batch), *batch[2:])

    layers.enable(model)
    seen.clear()
    found = answer_output(model, *batch)

    assert hasattr(model, "under_way")
    for one, two in zip(found, whole, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
    for one, two in zip(_slopes(model, answer_logits(model, *batch), *batch[2:]), expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
    assert set(seen) <= ({10, 7} if block == 1 else {16, 8})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("block", [1, 8])
def test_lower_layers_are_left_out_where_their_states_are_known(name, block, monkeypatch):
    monkeypatch.setattr(packing, "block_of", lambda _: block)
    model, batch = _model(name), _batch()
    expected = answer_logits(model, *batch)
    slopes = _slopes(model, expected, *batch[2:])
    layers.enable(model)

    assert layers.split(model, 2)

    with torch.no_grad():
        logits, states = entering_states(model, *batch)
    monkeypatch.setattr(layers.of(model)[0].mlp, "forward", None)  # whoever computes a lower layer now fails
    found = answer_logits(model, *batch, entering=states)
    assert states.shape == (3, 3 + 4, 16)
    torch.testing.assert_close(logits, expected.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    for one, two in zip(_slopes(model, found, *batch[2:]), slopes, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_a_prompt_that_is_read_for_what_comes_next_is_read_at_its_end():
    model = _model("llama")
    prompts, is_prompt = left_padded(PROMPTS, pad=0)
    with torch.no_grad():
        expected = Reader(model, is_prompt, longest=5).read(prompts)

        layers.enable(model)

        torch.testing.assert_close(Reader(model, is_prompt, longest=5).read(prompts), expected, atol=1e-6, rtol=1e-5)


class _Mixing(torch.nn.Module):
    """A feed-forward network that hands something on from token to token."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole

    def forward(self, states):
        return self.whole(states.cumsum(dim=1))


def test_a_last_layer_that_mixes_tokens_computes_them_all():
    model = _model("llama")
    layers.of(model)[-1].mlp = _Mixing(layers.of(model)[-1].mlp)
    expected = model(torch.tensor([[5, 9, 12]])).logits

    layers.enable(model)

    assert not hasattr(model, "under_way")
    assert not layers.split(model, 2)
    torch.testing.assert_close(model(torch.tensor([[5, 9, 12]])).logits, expected)


class _Remembering(torch.nn.Module):
    """A layer that reads something beside the states."""

    def __init__(self, whole, model):
        super().__init__()
        self.whole, self.tokens = whole, []
        model.get_input_embeddings().register_forward_pre_hook(lambda _, given: self.tokens.append(given[0]))

    def forward(self, states, *given, **options):
        return self.whole(states + self.tokens[-1][..., None], *given, **options)


def test_layers_that_read_more_than_states_are_computed_every_time():
    model = _model("llama")
    model.model.layers[3] = _Remembering(model.model.layers[3], model)
    layers.enable(model)
    expected = model(torch.tensor([[5, 9, 12]])).logits

    assert not layers.split(model, 2)

    torch.testing.assert_close(model(torch.tensor([[5, 9, 12]])).logits, expected)
