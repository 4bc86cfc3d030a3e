"""Root-mean-square norms as one node of autograd, computed in place and kept in the model's own type.

    y = w x / r        r² = mean x² + ε

transformers writes the norm out, operation by operation, and autograd keeps two copies of x in float32.
https://arxiv.org/abs/1910.07467. Letters for shapes: N tokens, H hidden size.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def quicken(model: nn.Module) -> None:
    """Let the frozen norms of a model compute so. A norm that is defined in another way stays as it is."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and not hasattr(module, "whole_forward") and _is_plain(module):
            module.whole_forward = module.forward
            module.forward = partial(_forward, module, module.whole_forward)


def _forward(norm: Any, whole: Callable[..., Tensor], inputs: Tensor, *given: Any, **options: Any) -> Tensor:
    if given or options or norm.weight.requires_grad or inputs.dtype != norm.weight.dtype:
        return whole(inputs, *given, **options)
    found: Tensor = _Norm.apply(inputs, norm.weight, norm.variance_epsilon)
    return found


@torch.no_grad()
def _is_plain(norm: Any) -> bool:
    """Whether the norm gives what `_Norm` does, for a few rows and weights: its own may be split over processes."""
    given, epsilon = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)
    if not isinstance(given, Tensor) or given.dim() != 1 or not isinstance(epsilon, float):
        return False
    rows = torch.linspace(-2, 3, 3 * given.shape[0]).view(3, -1).sin()
    stand_in = SimpleNamespace(weight=torch.linspace(0.5, 2, given.shape[0]), variance_epsilon=epsilon)
    try:
        expected = type(norm).forward(stand_in, rows)
    except AttributeError:  # It reads more than a weight and an epsilon.
        return False
    return torch.allclose(expected, _Norm.apply(rows, stand_in.weight, epsilon), atol=1e-5, rtol=1e-5)


class _Norm(torch.autograd.Function):
    """Half precision is computed in float32."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """(..., N, H) inputs and (H,) weights → (..., N, H)."""
        whole = _precise(inputs)
        size = torch.linalg.vector_norm(whole, dim=-1, keepdim=True)
        shrink = size.square_().div_(inputs.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(inputs, weight, shrink)
        return whole.mul_(shrink).to(inputs.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None, None]:
        """(g w - y' mean(g w y')) / r, where y' = x / r."""
        inputs, weight, shrink = ctx.saved_tensors
        normed, found = _precise(inputs).mul_(shrink), _precise(grads * weight)
        common = torch.linalg.vecdot(found, normed).unsqueeze(-1).div_(inputs.shape[-1])
        return found.sub_(normed.mul_(common)).mul_(shrink).to(inputs.dtype), None, None


def _precise(part: Tensor) -> Tensor:
    """A copy in float32, or in float64 where it was that."""
    return part.to(torch.promote_types(part.dtype, torch.float32), copy=True)
