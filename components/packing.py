"""Sequences without padding: one row of tokens for everything but attention, which is given each sequence by itself.

An attention of transformers' own interface, registered under the name `packed`. Without `packed=` it is transformers' sdpa.
Letters for shapes: N tokens in all, B sequences, L tokens of the longest, A heads, D size of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "packed"
LONGEST_PLAIN = 512
"""Tokens above which four products would need too much memory."""


@dataclass(frozen=True)
class Layout:
    """Where each token lies in a batch that is padded on the right."""

    place: Tensor
    """(N,) index of each token in B L."""
    token: Tensor
    """(B L) index of the token at each place; 0 on padding, which no token attends to."""
    longest: int


def possible(model: Any) -> bool:
    """Whether the model's attention is the one registered here."""
    return model.config._attn_implementation == NAME  # noqa: SLF001  (transformers' name for the setting)


def enable(model: Any) -> None:
    """Use packed attention, where every layer attends to everything before it; else leave the model as it is."""
    config = model.config
    whole = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    if getattr(model, "_supports_attention_backend", False) and whole and not getattr(config, "sliding_window", None):
        model.set_attn_implementation(NAME)


def arguments(is_token: Tensor) -> dict[str, Any]:
    """What a model is called with, beside one row of all tokens; `is_token` is (B, ...) bool in any padded layout.

    The attention mask is a dummy that keeps transformers from building one; `packed` says it all.
    """
    lengths = is_token.sum(dim=1)
    longest = int(lengths.max())
    is_place = torch.arange(longest, device=is_token.device) < lengths[:, None]
    place = is_place.flatten().nonzero().squeeze(-1)
    token = torch.zeros(is_place.numel(), dtype=torch.long, device=is_token.device)
    token[place] = torch.arange(len(place), device=is_token.device)
    dummy = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=is_token.device)
    return {"attention_mask": dummy, NAME: Layout(place, token, longest)}


def attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """(1, A, N, D) queries, keys and values → (1, N, A, D), as if every sequence had been alone."""
    layout: Layout | None = options.pop(NAME, None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    query, key, value = (_padded(part, layout) for part in (query, key, value))
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    if _plain_is_faster(query):
        found = plain(query, key, value, scale=scale)
    else:
        grouped = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scale, is_causal=True, **grouped)
    rows = found.transpose(1, 2).flatten(0, 1)
    return _Pack.apply(rows, layout.place)[None], None


def _plain_is_faster(query: Tensor) -> bool:
    """On a CPU PyTorch's fused attention is slow backwards in half precision: 27 ms where four products take 8.

    Measured for 16 sequences of 64 tokens with 8 heads of 64, one thread, PyTorch 2.13.0. Forwards it is faster.
    """
    half = query.dtype in {torch.bfloat16, torch.float16}
    return half and query.device.type == "cpu" and query.requires_grad and query.shape[2] <= LONGEST_PLAIN


def plain(query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
    """Causal attention as products and a softmax in float32: (B, A, L, D) queries, grouped keys and values → (B, A, L, D)."""
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) if groups > 1 else part for part in (key, value))
    length = query.shape[2]
    later = torch.full((length, length), float("-inf"), device=query.device).triu(1)
    scores = (query @ key.transpose(-1, -2)).float() * scale + later
    return torch.softmax(scores, dim=-1).to(value.dtype) @ value


def _padded(part: Tensor, layout: Layout) -> Tensor:
    """(1, A, N, D) to (B, A, L, D)."""
    rows = _Unpack.apply(part[0].transpose(0, 1), layout.token, layout.place)
    return rows.unflatten(0, (-1, layout.longest)).transpose(1, 2)


class _Unpack(torch.autograd.Function):
    """Tokens to their places. What falls on padding has no gradient, since nothing attends to it."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, token: Tensor, place: Tensor) -> Tensor:
        """(N, ...) to (B L, ...)."""
        ctx.place = place
        return tokens.index_select(0, token)

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None, None]:
        """(B L, ...) to (N, ...)."""
        return grads.index_select(0, ctx.place), None, None


class _Pack(torch.autograd.Function):
    """Places to their tokens."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, place: Tensor) -> Tensor:
        """(B L, ...) to (N, ...)."""
        ctx.place, ctx.size = place, len(places)
        return places.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None]:
        """(N, ...) to (B L, ...)."""
        found = grads.new_zeros((ctx.size, *grads.shape[1:]))
        return found.index_copy_(0, ctx.place, grads), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
