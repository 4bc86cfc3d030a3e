"""The lean norm is transformers' own: same outputs, same gradients, and it steps aside where it must."""

from __future__ import annotations

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from components import norms


def _norm(kind=torch.float32, size=24):
    torch.manual_seed(2)
    norm = LlamaRMSNorm(size).to(kind).requires_grad_(requires_grad=False)
    norm.weight.copy_(torch.randn(size))
    return norm


def _outcome(norm, rows):
    rows = rows.clone().requires_grad_()
    found = norm(rows)
    (found * torch.linspace(-1, 2, found.numel(), dtype=found.dtype).view_as(found)).sum().backward()
    return found.detach(), rows.grad


@pytest.mark.parametrize(("kind", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_outputs_and_gradients_equal_transformers(kind, close):
    rows = torch.randn(1, 7, 24).to(kind)
    expected, expected_gradient = _outcome(_norm(kind), rows)
    norm = _norm(kind)
    norms.quicken(norm)
    assert norm.forward.func is norms._forward

    found, gradient = _outcome(norm, rows)

    torch.testing.assert_close(found, expected, atol=close, rtol=close)
    torch.testing.assert_close(gradient, expected_gradient, atol=close, rtol=close)


def test_gradients_equal_finite_differences():
    rows, weight = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)

    assert torch.autograd.gradcheck(lambda given: norms._Norm.apply(given, weight, 1e-6), (rows,))


def test_inputs_stay_what_they_are():
    rows = torch.randn(3, 24)
    before, norm = rows.clone(), _norm()
    norms.quicken(norm)

    norm(rows)

    assert rows.equal(before)


def test_a_norm_that_adds_one_to_its_weights_stays():
    norm = GemmaRMSNorm(24).requires_grad_(requires_grad=False)
    norms.quicken(norm)

    assert not hasattr(norm, "whole_forward")


def test_a_norm_that_learns_computes_as_before():
    norm = _norm()
    norms.quicken(norm)
    norm.weight.requires_grad_()

    norm(torch.randn(3, 24)).sum().backward()

    assert norm.weight.grad is not None
