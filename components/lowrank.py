"""LoRA layers without what PEFT's general ones cost: one autograd node, products added in place, no casts of inputs.

    y = x Wᵀ + s (x Aᵀ) Bᵀ

Layers that read the same x (queries, keys and values; gate and up) are one node: their A are one matrix, and the gradients of
x are added up in place. PEFT's own forward stays in charge wherever a layer is anything but a plain linear one with one active
adapter and no dropout. Letters for shapes: N tokens, I inputs, O outputs of a layer, R ranks of a node's layers together.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from peft import PeftModel

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""What transformers' models call layers that read the same input, in the order in which they are called."""

COPIED = 8_000_000
"""Weights of a model up to which `still` copies them. So small a model takes longer to launch a product than to compute it."""


class _Adapters(NamedTuple):
    """The adapters of a node's layers, in the type that products are computed in."""

    downs: Tensor
    """(R, I) A of all layers, one below the other."""
    ups: list[Tensor]
    """(O, R of the layer) s B of each layer."""


class _Parts(NamedTuple):
    """What layers compute with, one of each for each layer."""

    weights: list[Tensor]
    biases: list[Tensor | None]
    downs: list[Tensor]
    ups: list[Tensor]
    scales: list[float]

    @property
    def are_whole(self) -> bool:
        """Whether this process has all of the weights at all times: not where FSDP2 splits the base."""
        return not any(hasattr(weight, "full_tensor") for weight in self.weights)

    def outputs(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(N, I) inputs → (N, O) of each layer, with gradients."""
        found: tuple[Tensor, ...] = _LowRank.apply(inputs, self.scales, *self.weights, *self.biases, *self.downs, *self.ups)
        return found


class _Still(NamedTuple):
    """The same while no adapter changes, in the type of the weights."""

    weights: list[Tensor]
    biases: list[Tensor | None]
    adapters: _Adapters
    joined: Tensor | None
    """(all O, I + R) W and s B of all layers, those of a layer below those of the one before; None where that isn't kept."""

    def outputs(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(N, I) inputs → (N, O) of each layer."""
        if self.joined is None:
            return _products(inputs, self.weights, self.biases, self.adapters)[0]
        both = torch.cat([inputs, inputs @ self.adapters.downs.T], dim=1)
        return (both @ self.joined.T).split([len(weight) for weight in self.weights], dim=1)


@dataclass(eq=False)
class _Node:
    """Layers that are computed when the first of them is called; the others find their outputs ready."""

    layers: list[Any]
    inputs: Tensor | None = None
    """What the outputs in `ready` were computed from."""
    ready: dict[int, Tensor] = field(default_factory=dict)
    """Place in `layers` → its output, until it is fetched."""
    stilled: _Still | None = None
    """See `still`."""

    def parts(self, inputs: Tensor) -> _Parts | _Still | None:
        """What to compute with; None where PEFT's own forward is to compute one of the layers."""
        if self.stilled is not None and inputs.dtype == self.stilled.weights[0].dtype:
            return self.stilled
        return _parts(self.layers)

    def fetch(self, place: int, inputs: Tensor) -> Tensor | None:
        """The output of a layer for these inputs, if it is ready."""
        if self.inputs is not inputs:
            return None
        found = self.ready.pop(place, None)
        if not self.ready:
            self.inputs = None
        return found


def quicken(model: PeftModel) -> None:
    """Let the plain LoRA layers of a model compute in the lean way. The weights, and what is saved, stay PEFT's."""
    from peft.tuners.lora.layer import Linear  # noqa: PLC0415  (seconds of import)

    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear and not hasattr(module, "node"):
            module.node = _Node([module])
            module.forward = partial(_forward, module, module.forward)
    for module in model.modules():
        for names in SIBLINGS:
            layers = [getattr(module, name, None) for name in names]
            if all(hasattr(layer, "node") for layer in layers):
                _join(layers)


def _join(layers: list[Any]) -> None:
    node = _Node(layers)
    for layer in layers:
        layer.node = node


@contextmanager
def still(model: PeftModel) -> Iterator[None]:
    """While the active adapter does not change: its weights in the base's type, made once and not at every call.

    Those of a small model are joined with the base's, so that a node is two products however many layers it has.
    """
    nodes = {layer.node for layer in model.modules() if hasattr(layer, "node")}
    small = sum(layer.base_layer.weight.numel() for node in nodes for layer in node.layers) <= COPIED
    with torch.no_grad():
        for node in nodes:
            node.stilled = _stilled(_parts(node.layers), small=small)
    try:
        yield
    finally:
        for node in nodes:
            node.stilled = None


def _forward(layer: Any, whole: Callable[..., Tensor], inputs: Tensor, *given: Any, **options: Any) -> Tensor:
    node = layer.node
    place = node.layers.index(layer)
    ready = node.fetch(place, inputs)
    if ready is not None:
        return ready
    parts = None if given or options else node.parts(inputs)
    if parts is None:
        return whole(inputs, *given, **options)
    if place:  # It reads something else than the first one did.
        for each in node.layers:
            _join([each])
        return _forward(layer, whole, inputs)
    outputs = [each.unflatten(0, inputs.shape[:-1]) for each in parts.outputs(inputs.flatten(0, -2))]
    node.inputs, node.ready = inputs if outputs[1:] else None, dict(enumerate(outputs[1:], 1))
    return outputs[0]


def _adapter(layer: Any) -> str:
    """The adapter that a layer computes with in the lean way; empty where PEFT's own forward is to."""
    active = layer.active_adapters
    name = active[0] if len(active) == 1 else ""
    if layer.disable_adapters or layer.merged or name not in layer.lora_A or name in layer.lora_variant:
        return ""
    if layer.training and not isinstance(layer.lora_dropout[name], nn.Identity):
        return ""
    return name if layer.lora_A[name].bias is None and layer.lora_B[name].bias is None else ""


def _parts(layers: Sequence[Any]) -> _Parts | None:
    """None where PEFT's own forward is to compute one of them."""
    names = [_adapter(layer) for layer in layers]
    if not all(names):
        return None
    return _Parts(
        [layer.base_layer.weight for layer in layers],
        [layer.base_layer.bias for layer in layers],
        [layer.lora_A[name].weight for layer, name in zip(layers, names, strict=True)],
        [layer.lora_B[name].weight for layer, name in zip(layers, names, strict=True)],
        [layer.scaling[name] for layer, name in zip(layers, names, strict=True)],
    )


def _stilled(parts: _Parts | None, *, small: bool) -> _Still | None:
    if parts is None or not parts.are_whole:
        return None
    adapters = _together(parts.downs, parts.ups, parts.scales, kind=parts.weights[0].dtype)
    plain = small and not any(bias is not None for bias in parts.biases)
    joined = _joined(parts.weights, adapters.ups) if plain else None
    return _Still(parts.weights, parts.biases, adapters, joined)


def _together(downs: Sequence[Tensor], ups: Sequence[Tensor], scales: Sequence[float], *, kind: torch.dtype) -> _Adapters:
    return _Adapters(torch.cat([*downs]).to(kind), [(up * scale).to(kind) for up, scale in zip(ups, scales, strict=True)])


def _joined(weights: Sequence[Tensor], ups: Sequence[Tensor]) -> Tensor:
    """(all O, I + R): each layer's W beside its s B, which stands in the columns of its own ranks."""
    return torch.cat([torch.cat([*weights]), torch.block_diag(*ups)], dim=1)


def _products(
    inputs: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], adapters: _Adapters
) -> tuple[tuple[Tensor, ...], Tensor]:
    """(N, I) inputs → (N, O) of each layer, and the (N, R) in between."""
    inner = inputs @ adapters.downs.T
    each = zip(weights, biases, adapters.ups, _split(inner.T, adapters.ups), strict=True)
    return tuple(nn.functional.linear(inputs, weight, bias).addmm_(part.T, up.T) for weight, bias, up, part in each), inner


def _split(stacked: Tensor, ups: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """(R, ...) to the rows of each layer."""
    return stacked.split([up.shape[1] for up in ups])


class _LowRank(torch.autograd.Function):
    """A node's layers and their gradient; none for frozen weights. In half precision the products are, the sums are not."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, scales: list[float], *given: Any) -> tuple[Tensor, ...]:
        """(N, I) inputs; for each layer the (O, I) weights, then biases, then downs, then ups → (N, O) of each layer."""
        layers = len(scales)
        weights, biases, downs, ups = (given[kind * layers : (kind + 1) * layers] for kind in range(4))
        adapters = _together(downs, ups, scales, kind=inputs.dtype)
        outputs, inner = _products(inputs, weights, biases, adapters)
        ctx.scales = scales
        ctx.save_for_backward(inputs, inner, adapters.downs, *weights, *adapters.ups)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """(N, O) of each layer → gradients of inputs, downs and ups."""
        layers = len(ctx.scales)
        inputs, inner, downs, *others = ctx.saved_tensors
        weights, ups = others[:layers], others[layers:]
        inner_grads = torch.empty_like(inner)
        for up, grad, rows in zip(ups, grads, _split(inner_grads.T, ups), strict=True):
            torch.mm(grad, up, out=rows.T)
        for_inputs = None
        if ctx.needs_input_grad[0]:
            for_inputs = inner_grads @ downs
            for grad, weight in zip(grads, weights, strict=True):
                for_inputs.addmm_(grad, weight)
        if not any(ctx.needs_input_grad[2 + 2 * layers :]):
            return for_inputs, *[None] * (1 + 4 * layers)
        for_downs = _split(inner_grads.T @ inputs, ups)
        for_ups = [(part @ grad).T * scale for part, grad, scale in zip(_split(inner.T, ups), grads, ctx.scales, strict=True)]
        return for_inputs, None, *[None] * (2 * layers), *for_downs, *for_ups
