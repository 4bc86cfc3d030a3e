"""The lean LoRA layer is PEFT's: same outputs, same gradients, and it steps aside where it must."""

from __future__ import annotations

import pytest
import torch

from components import lowrank, models


def _model(tiny_models):
    return models.load_adapter(
        models.load_base(tiny_models["base_model"], as_type=torch.float32), tiny_models["sft_adapter"], name="a", trainable=True
    ).double()


def _outcome(model):
    model.zero_grad()
    logits = model(input_ids=torch.tensor([[5, 9, 12, 30], [7, 8, 4, 2]])).logits
    (logits * torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view_as(logits)).sum().backward()
    return logits.detach(), {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def test_outputs_and_gradients_equal_pefts(tiny_models):
    expected_logits, expected = _outcome(_model(tiny_models))
    model = _model(tiny_models)
    lowrank.quicken(model)

    logits, found = _outcome(model)

    torch.testing.assert_close(logits, expected_logits, atol=1e-6, rtol=1e-6)
    assert found.keys() == expected.keys()
    assert len(found) == 28
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_equal_finite_differences(bias):
    torch.manual_seed(1)
    shapes = {"inputs": (5, 4), "weight": (3, 4), "down": (2, 4), "up": (3, 2)}
    parts = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    offset = torch.randn(3, dtype=torch.float64) if bias else None
    for name in ("inputs", "down", "up"):
        parts[name].requires_grad_()

    def layer(inputs, down, up):
        return lowrank._LowRank.apply(inputs, [0.75], parts["weight"], offset, down, up)

    assert torch.autograd.gradcheck(layer, (parts["inputs"], parts["down"], parts["up"]))


def test_a_disabled_adapter_stays_disabled(tiny_models):
    model = _model(tiny_models)
    lowrank.quicken(model)
    ids = torch.tensor([[5, 9, 12]])

    with model.disable_adapter():
        off = model(input_ids=ids).logits

    expected = models.load_base(tiny_models["base_model"], as_type=torch.float32).double()(input_ids=ids).logits
    assert torch.equal(off, expected)
    assert not torch.allclose(off, model(input_ids=ids).logits)


def test_switching_adapters_switches_the_weights(tiny_models):
    model = models.load_adapter(_model(tiny_models), tiny_models["reward_adapter"], name="b").double()
    ids = torch.tensor([[5, 9, 12]])
    expected = {}
    for name in ("a", "b"):
        model.set_adapter(name)
        expected[name] = model(input_ids=ids).logits
    lowrank.quicken(model)

    for name in ("a", "b"):
        model.set_adapter(name)
        torch.testing.assert_close(model(input_ids=ids).logits, expected[name], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(expected["a"], expected["b"])


@pytest.mark.parametrize("copied", [0, lowrank.COPIED])
def test_a_still_adapter_gives_the_same_and_later_changes_are_seen(tiny_models, monkeypatch, copied):
    monkeypatch.setattr(lowrank, "COPIED", copied)
    model = _model(tiny_models)
    lowrank.quicken(model)
    tokens = torch.tensor([[5, 9, 12, 30]])
    with torch.no_grad():
        expected = model(input_ids=tokens).logits
        with lowrank.still(model):
            found = model(input_ids=tokens).logits
        next(value for name, value in model.named_parameters() if "lora_B.a" in name).add_(0.5)
        changed = model(input_ids=tokens).logits

    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert not changed.allclose(expected)


def test_siblings_are_one_node_and_one_that_reads_something_else_is_not(tiny_models):
    model = _model(tiny_models)
    lowrank.quicken(model)
    mlp = next(module for name, module in model.named_modules() if name.endswith("mlp"))
    one, other = torch.randn(2, 3, mlp.gate_proj.in_features, dtype=torch.float64)
    assert mlp.gate_proj.node is mlp.up_proj.node
    expected = mlp.up_proj(other)

    with torch.no_grad():
        mlp.gate_proj(one)
        found = mlp.up_proj(other)

    assert mlp.gate_proj.node is not mlp.up_proj.node
    torch.testing.assert_close(found, expected)


def test_siblings_stay_one_node_while_their_adapter_is_off(tiny_models):
    model = _model(tiny_models)
    lowrank.quicken(model)
    ids = torch.tensor([[5, 9, 12]])

    with model.disable_adapter():
        model(input_ids=ids)

    mlp = next(module for name, module in model.named_modules() if name.endswith("mlp"))
    assert mlp.gate_proj.node is mlp.up_proj.node


def test_what_was_made_ready_is_given_out_once(tiny_models):
    model = _model(tiny_models)
    lowrank.quicken(model)
    mlp = next(module for name, module in model.named_modules() if name.endswith("mlp"))
    rows = torch.randn(3, mlp.gate_proj.in_features, dtype=torch.float64)
    mlp.gate_proj(rows)
    before = mlp.up_proj(rows).detach().clone()
    with torch.no_grad():
        next(value for name, value in mlp.up_proj.named_parameters() if "lora_B.a" in name).add_(0.5)

    mlp.gate_proj(rows)

    assert not mlp.up_proj(rows).allclose(before)
    assert mlp.up_proj.node.inputs is None


def test_gradients_of_two_layers_with_one_input_equal_finite_differences():
    torch.manual_seed(3)
    shapes = ((5, 4), (3, 4), (2, 4), (2, 4), (1, 4), (3, 2), (2, 1))
    inputs, one, other, *adapters = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    for part in (inputs, *adapters):
        part.requires_grad_()

    def layers(given, *trained):
        return lowrank._LowRank.apply(given, [0.75, 2.0], one, other, None, None, *trained)

    assert torch.autograd.gradcheck(layers, (inputs, *adapters))
