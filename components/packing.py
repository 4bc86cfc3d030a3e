"""Sequences without padding: one row of tokens for everything but attention, which is given each sequence by itself.

An attention of transformers' own interface, registered under the name `packed`. Without `packed=` it is transformers' sdpa.
Letters for shapes: N tokens in all, B sequences, L tokens of the longest, A query heads, K key heads, D size of a head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "packed"
BLOCK = 64
"""Tokens in a block. See `filled`."""
LIMITED = re.compile("(?<!max_)window|chunk|local_(?!experts)|attention_types|sparse_attention")
"""Names of settings that, where they say something, limit how far a layer looks back."""
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
    by_head: dict[tuple[int, int], Heads] = field(default_factory=dict)
    """What `heads` found, by how many heads queries and keys have: the same in every layer."""
    again: Tensor | None = None
    """(M,) further indices in B L of tokens that several sequences have in common; None where none is."""
    again_token: Tensor | None = None
    """(M,) which tokens those are."""

    def to(self, on: torch.device) -> Layout:
        """The same on a device."""
        place, token = self.place.to(on), self.token.to(on)
        if self.again is None or self.again_token is None:
            return Layout(place, token, self.longest)
        return Layout(place, token, self.longest, again=self.again.to(on), again_token=self.again_token.to(on))

    def heads(self, queries: int, keys: int) -> Heads:
        """Where each head of each token lies, for A query heads, every A / K of which share one of K key heads."""
        if (queries, keys) not in self.by_head:
            head = torch.arange(queries, device=self.token.device)
            token = self.token.unflatten(0, (-1, self.longest))[:, None, :]
            row, column = self.place // self.longest, self.place % self.longest
            self.by_head[queries, keys] = Heads(
                (token * queries + head[:, None]).flatten(),
                (token * keys + (head // (queries // keys))[:, None]).flatten(),
                ((row[:, None] * queries + head) * self.longest + column[:, None]).flatten(),
            )
        return self.by_head[queries, keys]


@dataclass(frozen=True)
class Heads:
    """A layout for rows that are one head of one token, so that one gather makes what products read, without copies."""

    queries: Tensor
    """(B A L) index of each query in N A."""
    keys: Tensor
    """(B A L) index of the key of each query in N K."""
    place: Tensor
    """(N A) index of each query in B A L."""


@dataclass(frozen=True)
class Step:
    """One new token of every sequence, whose keys and values, padding included, lie in a cache."""

    bias: Tensor
    """(B, 1, 1, L): 0 where a token may be attended to, -inf on padding."""


def possible(model: Any) -> bool:
    """Whether the model's attention is the one registered here."""
    return model.config._attn_implementation == NAME  # noqa: SLF001  (transformers' name for the setting)


def enable(model: Any) -> None:
    """Use packed attention, where every layer attends to everything before it and to nothing else; else leave all as it is.

    Settings say how far layers look back. What they don't say is tried: two short sequences in one row must give what each
    gives alone, which they don't where a layer hands something on in another way, such as a convolution.
    """
    if getattr(model, "_supports_attention_backend", False) and _looks_back_all_the_way(model):
        before = model.config._attn_implementation  # noqa: SLF001  (transformers' name for the setting)
        model.set_attn_implementation(NAME)
        if not _keeps_apart(model):
            model.set_attn_implementation(before)


def _looks_back_all_the_way(model: Any) -> bool:
    """Whether the settings of the language model, which may be a part of the whole, know no layer that looks back less far."""
    config = model.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return set(kinds) == {"full_attention"} and not getattr(config, "sliding_window", None)
    return not any(value and LIMITED.search(name) for name, value in config.to_dict().items())


@torch.no_grad()
def _keeps_apart(model: Any) -> bool:
    """Whether two sequences in one row give what each gives alone, to half of the digits that numbers have."""
    weight = next(model.parameters())
    known = model.config.get_text_config(decoder=True).vocab_size
    sequences = [
        (torch.arange(start, start + length, device=weight.device) % known)[None] for start, length in ((1, 5), (6, 3))
    ]
    is_token = torch.arange(5, device=weight.device) < torch.tensor([[5], [3]], device=weight.device)
    places = [torch.arange(sequence.shape[1], device=weight.device)[None] for sequence in sequences]
    together = model(
        input_ids=torch.cat(sequences, dim=1), position_ids=torch.cat(places, dim=1), use_cache=False, **arguments(is_token)
    ).logits
    alone = torch.cat([model(input_ids=sequence, use_cache=False).logits for sequence in sequences], dim=1)
    precision = max(torch.finfo(weight.dtype).eps, torch.finfo(torch.float32).eps)
    return bool((together - alone).norm() <= precision**0.5 * alone.norm())


def filled(is_prompt: Tensor, is_answer: Tensor, *, block: int) -> Tensor:
    """Which places of prompts and answers to compute on: all tokens, and padding after answers until `block` divides them.

    Half precision on a CPU compiles a product for every number of rows that it has not met: 1 ms and 0.7 MB for each, as
    much as the product itself takes on a small model. So tokens come in blocks, on places that attention computes anyway.
    What is added is read by nobody.

    Args:
        is_prompt: (B, P) bool, True where a token is not padding.
        is_answer: (B, T) bool, True where a token is not padding.
        block: Tokens; 1 adds none.

    Returns:
        (B, P + T) bool.
    """
    wanted = -int(is_prompt.sum() + is_answer.sum()) % block
    spare = (~is_answer).flatten()
    added = (spare & (spare.cumsum(0) <= wanted)).unflatten(0, is_answer.shape)
    return torch.cat([is_prompt, is_answer | added], dim=1)


def block_of(model: Any) -> int:
    """The block that `filled` is to use for a model."""
    return BLOCK if half_on_cpu(next(model.parameters())) else 1


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
    return laid_out(Layout(place, token, longest), on=is_token.device)


def laid_out(layout: Layout, *, on: torch.device) -> dict[str, Any]:
    """What a model is called with, beside one row of all tokens."""
    return {"attention_mask": _dummy(on), NAME: layout.to(on)}


def next_arguments(bias: Tensor) -> dict[str, Any]:
    """What a model is called with, beside one new token of every sequence and a cache; `bias` is that of `Step`."""
    return {"attention_mask": _dummy(bias.device), NAME: Step(bias)}


def _dummy(device: torch.device) -> Tensor:
    return torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)


def attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """(1, A, N, D) queries, keys and values → (1, N, A, D), as if every sequence had been alone."""
    layout: Layout | Step | None = options.pop(NAME, None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    if isinstance(layout, Step):
        return _next(query, key, value, bias=layout.bias, scale=scale), None
    if half_on_cpu(query) and query.requires_grad and layout.longest <= LONGEST_PLAIN and layout.again is None:
        return causal(query, key, value, layout=layout, scale=scale), None
    query, key, value = (_padded(part, layout) for part in (query, key, value))
    grouped = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    found = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scale, is_causal=True, **grouped)
    rows = found.transpose(1, 2).flatten(0, 1)
    return _Pack.apply(rows, layout.place)[None], None


def half_on_cpu(query: Tensor) -> bool:
    """Where PyTorch's fused attention is slow.

    Measured with one thread, PyTorch 2.13.0 and heads of 64: one new token for each of 34 sequences of 56 with 4 heads,
    1.1 ms in bfloat16, 0.2 in float32; 16 sequences of 64 tokens with 8 heads, both ways, 27 ms where the products of
    `causal` take 5. Forwards alone, over whole sequences, it is faster.
    """
    return query.dtype in {torch.bfloat16, torch.float16} and query.device.type == "cpu"


def causal(query: Tensor, key: Tensor, value: Tensor, *, layout: Layout, scale: float) -> Tensor:
    """Causal attention within each sequence as products and a softmax: (1, A, N, D) and (1, K, N, D) twice → (1, N, A, D)."""
    found: Tensor = _Causal.apply(query, key, value, layout, scale)
    return found


def _next(query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor, scale: float) -> Tensor:
    """(B, A, 1, D) queries of the newest tokens, (B, K, L, D) keys and values, which set the type → (B, 1, A, D)."""
    grouped = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    found = torch.nn.functional.scaled_dot_product_attention(
        query.to(key.dtype), key, value, attn_mask=bias.to(key.dtype), scale=scale, **grouped
    )
    return found.transpose(1, 2).to(query.dtype)


def _padded(part: Tensor, layout: Layout) -> Tensor:
    """(1, A, N, D) to (B, A, L, D)."""
    rows = _Unpack.apply(part[0].transpose(0, 1), layout)
    return rows.unflatten(0, (-1, layout.longest)).transpose(1, 2)


class _Causal(torch.autograd.Function):
    """Causal attention as products and a softmax, which PyTorch computes in float32 whatever type it returns."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        """(1, A, N, D) queries, (1, K, N, D) keys and values → (1, N, A, D)."""
        shared, longest = (query.shape[1], key.shape[1]), layout.longest
        heads = layout.heads(*shared)
        query = _by_head(query, heads.queries, longest)
        key, value = (_by_head(part, heads.keys, longest) for part in (key, value))
        later = torch.full((longest, longest), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
        scores = torch.baddbmm(later.expand(len(query), -1, -1), query, key.transpose(1, 2), alpha=scale)
        weights = torch.softmax(scores, dim=-1)
        ctx.heads, ctx.scale, ctx.shared = heads, scale, shared
        ctx.save_for_backward(query, key, value, weights)
        found = (weights @ value).flatten(0, 1).index_select(0, heads.place)
        return found.view(1, -1, shared[0], found.shape[-1])

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
        """(1, N, A, D) → gradients of queries, keys and values."""
        query, key, value, weights = ctx.saved_tensors
        padded = query.new_zeros((query.shape[0] * query.shape[1], grads.shape[-1]))
        padded = padded.index_copy_(0, ctx.heads.place, grads.reshape(-1, grads.shape[-1])).view(*query.shape[:2], -1)
        for_weights = torch.bmm(padded, value.transpose(1, 2))
        for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)  # noqa: SLF001  (no public name)
        for_scores.mul_(ctx.scale)
        found = (
            torch.bmm(for_scores, key),
            torch.bmm(for_scores.transpose(1, 2), query),
            torch.bmm(weights.transpose(1, 2), padded),
        )
        queries, keys, values = (part.flatten(0, 1).index_select(0, ctx.heads.place) for part in found)
        return _by_token(queries, *ctx.shared[:1] * 2), _by_token(keys, *ctx.shared), _by_token(values, *ctx.shared), None, None


def _by_head(part: Tensor, place: Tensor, longest: int) -> Tensor:
    """(1, K, N, D) to (B A, L, D)."""
    return part[0].transpose(0, 1).reshape(-1, part.shape[-1]).index_select(0, place).unflatten(0, (-1, longest))


def _by_token(rows: Tensor, heads: int, shared: int) -> Tensor:
    """(N A, D) rows of A heads to (1, K, N, D), summed over the heads that share one."""
    by_head = rows.view(-1, shared, heads // shared, rows.shape[-1])
    return (by_head.sum(dim=2) if heads > shared else by_head.squeeze(2)).transpose(0, 1)[None]


class _Unpack(torch.autograd.Function):
    """Tokens to their places. What falls on padding has no gradient, since nothing attends to it."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, layout: Layout) -> Tensor:
        """(N, ...) to (B L, ...)."""
        ctx.layout = layout
        return tokens.index_select(0, layout.token)

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None]:
        """(B L, ...) to (N, ...)."""
        layout: Layout = ctx.layout
        found = grads.index_select(0, layout.place)
        if layout.again is not None and layout.again_token is not None:
            found.index_add_(0, layout.again_token, grads.index_select(0, layout.again))
        return found, None


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
