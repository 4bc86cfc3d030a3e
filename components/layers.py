"""What of a decoder's layers need not be computed, since nobody reads it or since it is known.

    tokens ── lower layers ── states ── upper layers ── last layer, at the tokens that are read ── logits

- Logits are wanted for answer tokens. These attend to the keys and values of all tokens, but what the last layer makes of the
  others after attention, in its output projection and its feed-forward network, nobody reads.
- Where only upper layers train, the lower ones give the same states whenever they are given the same tokens. They are kept.

transformers' modules compute, each with a forward of ours around its own; a model that does not give the same so, which is
tried, is left as it is. Letters for shapes: B rows, T tokens of a row, M tokens that are read, H hidden size.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN_BY_TOKEN = ("self_attn.o_proj", "self_attn.out_proj", "attn.c_proj", "attention.dense", "mlp")
"""What transformers' models call the parts of a layer that come after attention and see one token at a time."""
READ, LENGTH = (2, 4), 5
"""Tokens that a trial reads, and how many there are."""


@dataclass(eq=False)
class Pass:
    """What the pass that is under way leaves out. An attribute of the model, and known to the modules concerned."""

    read: Tensor | None = None
    """(M,) indices in T, each once, of the tokens at which the last layer's outputs are read; None for all."""
    entering: Tensor | None = None
    """(B, T, H) states that enter the upper layers; None where the lower ones are to compute them."""
    seen: list[Tensor] | None = None
    """Where the states that enter the upper layers are put; None where nobody asks."""
    first: int = 0
    """Number of the lowest upper layer."""


def of(model: Any) -> list[nn.Module]:
    """The layers of a causal language model, from the lowest; none where they are not one list."""
    depth = model.config.get_text_config(decoder=True).num_hidden_layers
    lists = [part for part in model.get_decoder().children() if isinstance(part, nn.ModuleList) and len(part) == depth]
    return [*lists[0]] if len(lists) == 1 else []


def enable(model: Any) -> None:
    """Let the last layer of a causal language model compute at the tokens that are read, where that gives the same."""
    found = of(model)
    if not found or hasattr(model, "under_way"):
        return
    wrapped = [(part, part.forward) for part in token_by_token(model)]
    model.under_way = Pass()
    for part, whole in wrapped:
        part.forward = partial(_at_read, model.under_way, whole)
    if not _gives_the_same(model):
        for part, whole in wrapped:
            part.forward = whole
        del model.under_way


def token_by_token(model: Any) -> list[Any]:
    """The parts of the last layer that see one token at a time, as far as their names are known."""
    last = dict(of(model)[-1].named_modules())
    return [last[name] for name in TOKEN_BY_TOKEN if name in last]


def split(model: Any, first: int) -> bool:
    """Let states be kept that enter layer number `first`, where that gives the same; whether it does."""
    under_way: Pass | None = getattr(model, "under_way", None)
    if under_way is None or not 0 < first < len(of(model)):
        return False
    under_way.first = first
    parts = of(model)[: first + 1]
    wholes = [part.forward for part in parts]
    for number, (part, whole) in enumerate(zip(parts, wholes, strict=True)):
        part.forward = partial(_skipped if number < first else _entered, under_way, whole)
    if _enters_the_same(model):
        return True
    for part, whole in zip(parts, wholes, strict=True):
        part.forward = whole
    under_way.first = 0
    return False


@contextmanager
def leaving_out(model: Any, *, read: Tensor, entering: Tensor | None = None) -> Iterator[None]:
    """Inside, what the model is called with is read at some tokens only; with states, no lower layer is computed."""
    under_way: Pass | None = getattr(model, "under_way", None)
    if under_way is None:
        yield
        return
    under_way.read, under_way.entering = read, entering
    try:
        yield
    finally:
        under_way.read = under_way.entering = None


@contextmanager
def entering(model: Any) -> Iterator[list[Tensor]]:
    """A list that gets the (B, T, H) states which enter the upper layers of a model that is `split`."""
    seen: list[Tensor] = []
    model.under_way.seen = seen
    try:
        yield seen
    finally:
        model.under_way.seen = None


def _at_read(under_way: Pass, whole: Callable[..., Any], inputs: Tensor, *given: Any, **options: Any) -> Any:
    """Outputs at the tokens that are read, 0 elsewhere."""
    if under_way.read is None or given or options:
        return whole(inputs, *given, **options)
    found = whole(_Gather.apply(inputs, under_way.read))
    return _Scatter.apply(found, under_way.read, inputs.shape[1]) if isinstance(found, Tensor) else whole(inputs)


def _skipped(under_way: Pass, whole: Callable[..., Any], states: Tensor, *given: Any, **options: Any) -> Any:
    """A lower layer."""
    return whole(states, *given, **options) if under_way.entering is None else states


def _entered(under_way: Pass, whole: Callable[..., Any], states: Tensor, *given: Any, **options: Any) -> Any:
    """The lowest upper layer."""
    if under_way.seen is not None:
        under_way.seen.append(states)
    return whole(states if under_way.entering is None else under_way.entering, *given, **options)


@torch.no_grad()
def _gives_the_same(model: Any) -> bool:
    """Whether logits at the tokens that are read are those of a whole pass."""
    ids = _trial(model)
    whole = model(input_ids=ids, use_cache=False).logits[:, READ]
    with leaving_out(model, read=torch.tensor(READ, device=ids.device)):
        found = model(input_ids=ids, use_cache=False).logits[:, READ]
    return _are_close(found, whole)


@torch.no_grad()
def _enters_the_same(model: Any) -> bool:
    """Whether other tokens with the states of these give the logits of these."""
    ids = _trial(model)
    read = torch.tensor(READ, device=ids.device)
    with entering(model) as seen:
        whole = model(input_ids=ids, use_cache=False).logits[:, READ]
    if not isinstance(seen[0], Tensor) or seen[0].shape[:2] != ids.shape:
        return False
    with leaving_out(model, read=read, entering=seen[0]):
        found = model(input_ids=ids.flip(1), use_cache=False).logits[:, READ]
    return _are_close(found, whole)


def _trial(model: Any) -> Tensor:
    known = model.config.get_text_config(decoder=True).vocab_size
    return (torch.arange(1, LENGTH + 1, device=next(model.parameters()).device) % known)[None]


def _are_close(found: Tensor, whole: Tensor) -> bool:
    """To half of the digits that numbers have."""
    precision = max(torch.finfo(whole.dtype).eps, torch.finfo(torch.float32).eps)
    return bool((found - whole).norm() <= precision**0.5 * whole.norm())


class _Gather(torch.autograd.Function):
    """Some tokens of all, each once."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, read: Tensor) -> Tensor:
        """(B, T, ...) to (B, M, ...)."""
        ctx.read, ctx.shape = read, tokens.shape
        return tokens.index_select(1, read)

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None]:
        """(B, M, ...) to (B, T, ...)."""
        return grads.new_zeros(ctx.shape).index_copy_(1, ctx.read, grads), None


class _Scatter(torch.autograd.Function):
    """Some tokens to where they were among all; 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, found: Tensor, read: Tensor, tokens: int) -> Tensor:
        """(B, M, ...) to (B, T, ...)."""
        ctx.read = read
        return found.new_zeros((found.shape[0], tokens, *found.shape[2:])).index_copy_(1, read, found)

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None, None]:
        """(B, T, ...) to (B, M, ...)."""
        return grads.index_select(1, ctx.read), None, None
