"""LoRA layers without what PEFT's general ones cost: one autograd node a layer, products added in place, no casts of inputs.

    y = x Wᵀ + s (x Aᵀ) Bᵀ

PEFT's own forward stays in charge wherever a layer is anything but a plain linear one with one active adapter and no
dropout: `quicken` then changes nothing for that layer. Letters for shapes: N tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from peft import PeftModel


def quicken(model: PeftModel) -> None:
    """Let the plain LoRA layers of a model compute in the lean way. The weights, and what is saved, stay PEFT's."""
    from peft.tuners.lora.layer import Linear  # noqa: PLC0415  (seconds of import)

    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear and not hasattr(module, "whole_forward"):
            module.whole_forward = module.forward
            module.forward = partial(_forward, module, module.whole_forward)
            module.stilled = None


@contextmanager
def still(model: PeftModel) -> Iterator[None]:
    """While the active adapter does not change: its weights in the base's type, made once and not at every call."""
    quick = [module for module in model.modules() if hasattr(module, "whole_forward")]
    for layer in quick:
        name = layer.active_adapters[0] if len(layer.active_adapters) == 1 else ""
        if name in layer.lora_A:
            kind = layer.base_layer.weight.dtype
            layer.stilled = tuple(part[name].weight.detach().to(kind) for part in (layer.lora_A, layer.lora_B))
    try:
        yield
    finally:
        for layer in quick:
            layer.stilled = None


def _forward(layer: Any, whole: Callable[..., Tensor], inputs: Tensor, *given: Any, **options: Any) -> Tensor:
    active = layer.active_adapters
    name = active[0] if len(active) == 1 else ""
    if given or options or layer.disable_adapters or layer.merged or name not in layer.lora_A or name in layer.lora_variant:
        return whole(inputs, *given, **options)
    if layer.training and not isinstance(layer.lora_dropout[name], nn.Identity):
        return whole(inputs)
    base, down, up = layer.base_layer, layer.lora_A[name], layer.lora_B[name]
    if down.bias is not None or up.bias is not None:
        return whole(inputs)
    scale, rows = layer.scaling[name], inputs.flatten(0, -2)
    if layer.stilled is not None and inputs.dtype == base.weight.dtype:
        outputs, _ = _product(rows, base.weight, base.bias, *layer.stilled, scale=scale)
    else:
        outputs = _LowRank.apply(rows, base.weight, base.bias, down.weight, up.weight, scale)
    return outputs.unflatten(0, inputs.shape[:-1])


def _product(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, *, scale: float
) -> tuple[Tensor, Tensor]:
    """(N, I) inputs → (N, O), and the (N, R) in between."""
    inner = inputs @ down.T
    return nn.functional.linear(inputs, weight, bias).addmm_(inner, up.T, alpha=scale), inner


class _LowRank(torch.autograd.Function):
    """The layer and its gradient; none for the frozen weight. In half precision the products are, the sums are not."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917  (autograd passes arguments by position)
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """(N, I) inputs, (O, I) weight, (R, I) down, (O, R) up → (N, O)."""
        down, up = down.to(inputs.dtype), up.to(inputs.dtype)
        outputs, inner = _product(inputs, weight, bias, down, up, scale=scale)
        ctx.scale = scale
        ctx.save_for_backward(inputs, weight, down, up, inner)
        return outputs

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
        """(N, O) → gradients of inputs, down and up."""
        inputs, weight, down, up, inner = ctx.saved_tensors
        inner_grads = (grads @ up) * ctx.scale
        for_inputs = (grads @ weight).addmm_(inner_grads, down) if ctx.needs_input_grad[0] else None
        for_down = inner_grads.T @ inputs if ctx.needs_input_grad[3] else None
        for_up = (grads.T @ inner) * ctx.scale if ctx.needs_input_grad[4] else None
        return for_inputs, None, None, for_down, for_up, None
