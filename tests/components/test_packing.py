"""A model that computes without padding says what it says about each sequence alone, and so do its gradients."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from components import packing
from components.sequences import answer_logits, answer_output, left_padded, right_padded, spread, token_logprobs

PROMPTS, ANSWERS = [[5, 9, 12], [8], [21, 6]], [[7, 1], [10, 30, 22, 1], [1]]
SHAPE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}


def _batch():
    return *left_padded(PROMPTS, pad=0), *right_padded(ANSWERS, pad=0)


@pytest.mark.parametrize(("family", "config"), [(LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config)])
def test_packed_logits_and_gradients_equal_those_of_each_sequence_alone(family, config):
    """Grouped heads, two families, float64; their norms and rotations round to float32."""
    torch.manual_seed(4)
    model = family(config(**SHAPE)).double().eval()
    packing.enable(model)
    weight = model.model.layers[0].mlp.up_proj.weight
    prompts, is_prompt, answers, is_answer = _batch()

    logits = answer_logits(model, prompts, is_prompt, answers, is_answer)
    slope = torch.autograd.grad(token_logprobs(logits, answers[is_answer]).sum(), weight)[0]

    model.set_attn_implementation("eager")
    alone = [model(torch.tensor([p + a])).logits[0, len(p) - 1 : -1] for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    expected = sum(
        torch.log_softmax(found, dim=-1)[torch.arange(len(a)), a].sum() for found, a in zip(alone, ANSWERS, strict=True)
    )
    torch.testing.assert_close(logits, torch.cat(alone), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(slope, torch.autograd.grad(expected, weight)[0], atol=1e-6, rtol=1e-5)


def test_packed_and_padded_give_the_same():
    torch.manual_seed(4)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    padded = answer_output(model, *_batch())

    packing.enable(model)

    assert packing.possible(model)
    for one, two in zip(padded, answer_output(model, *_batch()), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_model_that_looks_back_only_so_far_stays_padded():
    """Its layers attend to a window, which packed attention does not know."""
    model = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4))

    packing.enable(model)

    assert not packing.possible(model)


@pytest.mark.parametrize(
    ("kinds", "packed"), [(["sliding_attention", "full_attention"], False), (["full_attention"] * 2, True)]
)
def test_the_language_model_within_a_multimodal_one_says_how_far_it_looks_back(kinds, packed):
    """Gemma 3 with vision: settings of layers are one level down, where the model's own say nothing."""
    window = 4 if "sliding_attention" in kinds else None
    text = SHAPE | {"head_dim": 4, "layer_types": kinds, "sliding_window": window}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8}
    config = Gemma3Config(text_config=text, vision_config=vision | {"patch_size": 4}, mm_tokens_per_image=1, image_token_id=39)
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(config).eval()
    padded = answer_output(model, *_batch())

    packing.enable(model)

    assert packing.possible(model) is packed
    for one, two in zip(padded, answer_output(model, *_batch()), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_limit_that_only_a_name_tells_of_keeps_a_model_padded():
    """A Llama's settings name no kinds of layers. One that mentions chunks is not known to look back all the way."""
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_chunk_size=4))

    packing.enable(model)

    assert not packing.possible(model)


def test_what_settings_do_not_say_is_tried(monkeypatch):
    """A convolution hands the last tokens of one sequence on to the next in the row."""
    torch.manual_seed(4)
    model = Lfm2ForCausalLM(Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    before = model.config._attn_implementation
    monkeypatch.setattr(packing, "_looks_back_all_the_way", lambda _: True)

    packing.enable(model)

    assert not packing.possible(model)
    assert model.config._attn_implementation == before


def test_without_a_layout_packed_attention_is_sdpa():
    """As when answers are sampled: padding on the left, and a mask that says so."""
    torch.manual_seed(4)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    prompts, is_prompt = left_padded(PROMPTS, pad=0)
    expected = model(prompts, attention_mask=is_prompt).logits

    packing.enable(model)

    assert torch.equal(model(prompts, attention_mask=is_prompt).logits, expected)


def test_numbers_of_tokens_go_back_to_their_rows():
    is_answer = torch.tensor([[True, True, False], [True, False, False]])

    assert spread(torch.tensor([3.0, 5.0, 7.0]), is_answer).tolist() == [[3, 5, 0], [7, 0, 0]]


def test_gradient_of_a_token_log_probability():
    """d log softmax_k / d logit_j = ([j = k] - p_j) / temperature, by finite differences in float64."""
    logits = torch.tensor([[0.3, -1.2, 2.0], [0.7, 0.1, -0.4]], dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([2, 0])

    assert torch.autograd.gradcheck(lambda given: token_logprobs(given, tokens, temperature=0.7), (logits,))


def test_attention_by_products_is_causal_attention_and_so_is_its_gradient():
    """Grouped heads, sequences of 5 and 3 tokens, against PyTorch's own on each sequence, in float64."""
    torch.manual_seed(2)
    query, key, value = (torch.randn((1, heads, 8, 3), dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2))
    weights = torch.randn((1, 8, 4, 3), dtype=torch.float64)
    layout = packing.arguments(torch.arange(5) < torch.tensor([[5], [3]]))[packing.NAME]

    found = packing.causal(query, key, value, layout=layout, scale=0.7)

    alone = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, part], key[:, :, part], value[:, :, part], scale=0.7, is_causal=True, enable_gqa=True
        )
        for part in (slice(5), slice(5, 8))
    ]
    expected = torch.cat(alone, dim=2).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    slopes = (torch.autograd.grad((each * weights).sum(), (query, key, value)) for each in (found, expected))
    for one, two in zip(*slopes, strict=True):
        torch.testing.assert_close(one, two)


def test_attention_of_the_newest_token_leaves_padding_out():
    """Grouped heads; the second sequence has padding at two places. Keys in float32 set the type for a query in bfloat16."""
    torch.manual_seed(2)
    query, key, value = (torch.randn((2, heads, tokens, 8)) for heads, tokens in ((4, 1), (2, 6), (2, 6)))
    bias = torch.tensor([[0.0] * 6, [float("-inf")] * 2 + [0.0] * 4])[:, None, None]

    found, _ = packing.attention(torch.nn.Identity(), query, key, value, None, packed=packing.Step(bias), scaling=0.3)
    half, _ = packing.attention(torch.nn.Identity(), query.bfloat16(), key, value, None, packed=packing.Step(bias), scaling=0.3)

    expected = torch.softmax(0.3 * query[1, 3, 0] @ key[1, 1, 2:].T, dim=-1) @ value[1, 1, 2:]
    torch.testing.assert_close(found[1, 0, 3], expected)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), found, atol=0.02, rtol=0.02)


def test_tokens_are_filled_up_to_a_block_after_the_answers():
    """5 tokens and blocks of 4: three more, row after row; there is room for four."""
    is_prompt = torch.tensor([[False, True], [True, True]])
    is_answer = torch.tensor([[True, False, False], [True, False, False]])

    filled = packing.filled(is_prompt, is_answer, block=4)

    assert filled[:, :2].equal(is_prompt)
    assert filled[:, 2:].tolist() == [[True, True, True], [True, True, False]]
    assert packing.filled(is_prompt, is_answer, block=1).equal(torch.cat([is_prompt, is_answer], dim=1))
    assert packing.filled(is_prompt, is_answer, block=64).sum() == 9, "no more than there is room for"


def test_filling_up_changes_no_result(monkeypatch):
    torch.manual_seed(4)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).double().eval()
    packing.enable(model)
    expected = answer_output(model, *_batch())

    monkeypatch.setattr(packing, "block_of", lambda _: 8)

    for one, two in zip(expected, answer_output(model, *_batch()), strict=True):
        torch.testing.assert_close(one, two)


def test_in_half_precision_gradients_stay_close_to_those_of_float32():
    torch.manual_seed(4)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    packing.enable(model)
    prompts, is_prompt, answers, is_answer = _batch()
    slopes = []
    for kind in (torch.float32, torch.bfloat16):
        weight = model.to(kind).model.layers[0].mlp.up_proj.weight
        logits = answer_logits(model, prompts, is_prompt, answers, is_answer)
        slopes.append(torch.autograd.grad(token_logprobs(logits, answers[is_answer]).sum(), weight)[0].float())

    error = (slopes[0] - slopes[1]).norm() / slopes[0].norm()
    assert 0 < error < 0.03
