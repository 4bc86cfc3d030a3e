"""Prompts with answers as tensors: how a batch is laid out, and how likely each answer token was.

    [prompt, padded on the left | answer, padded on the right]

so that answers begin in the same column, and a model is asked for the logits of answer tokens only. What a model computes on
is packed: all tokens of all sequences in one row, none of them padding; only attention sees the sequences apart
(`components/packing.py`). Models whose attention can't be taken apart are given the padded batch, with the same result.
Letters for shapes: B sequences, P prompt tokens, T answer tokens, V vocabulary, H hidden size, N answer tokens in all.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from components import layers, packing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def left_padded(sequences: Sequence[Sequence[int]], *, pad: int) -> tuple[Tensor, Tensor]:
    """(B, P) token ids with the padding on the left, and (B, P) bool, True where a token is not padding."""
    tokens, is_token = right_padded([sequence[::-1] for sequence in sequences], pad=pad)
    return tokens.flip(1), is_token.flip(1)


def right_padded(sequences: Sequence[Sequence[int]], *, pad: int) -> tuple[Tensor, Tensor]:
    """(B, T) token ids with the padding on the right, and (B, T) bool, True where a token is not padding."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    longest = int(lengths.max())
    rows = [[*sequence, *[pad] * (longest - len(sequence))] for sequence in sequences]
    return torch.tensor(rows), torch.arange(longest) < lengths[:, None]


def position_ids(is_token: Tensor) -> Tensor:
    """(B, P + T) position of each token within its own sequence, from 0; padding before the first token gets 0."""
    return (is_token.long().cumsum(dim=1) - 1).clamp(min=0)


def answer_logits(
    model: Any, prompts: Tensor, is_prompt: Tensor, answers: Tensor, is_answer: Tensor, *, entering: Tensor | None = None
) -> Tensor:
    """(N, V) logits from which each answer token was or would be drawn, sequence after sequence, under the active adapter.

    Args:
        model: A causal language model.
        prompts: (B, P) token ids, padded on the left.
        is_prompt: (B, P) bool, True where a token is not padding.
        answers: (B, T) token ids, padded on the right.
        is_answer: (B, T) bool, True where a token is not padding.
        entering: (B, P + T, H) states that enter the upper layers, from `entering_states`; the lower ones are left out.
    """
    before = torch.cat([is_answer, torch.zeros_like(is_answer[:, :1])], dim=1)
    return _logits_at(model, prompts, is_prompt, answers, is_answer, wanted=before, entering=entering)


def entering_states(
    model: Any, prompts: Tensor, is_prompt: Tensor, answers: Tensor, is_answer: Tensor
) -> tuple[Tensor, Tensor]:
    """The logits of `answer_logits`, and the (B, P + T, H) states that entered the upper layers, 0 on padding.

    The model is packed and split (`layers.split`).
    """
    with layers.entering(model) as seen:
        logits = answer_logits(model, prompts, is_prompt, answers, is_answer)
    is_token = packing.filled(is_prompt, is_answer, block=packing.block_of(model))
    states = seen[0].new_zeros((*is_token.shape, seen[0].shape[-1])).index_put((is_token,), seen[0][0])
    return logits, states


def answer_output(model: Any, prompts: Tensor, is_prompt: Tensor, answers: Tensor, is_answer: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of `answer_logits`, and the states they were read from.

    Returns:
        (N, V) logits; (B, T + 1, H) last hidden states before each answer token and after the last one, 0 after that.
    """
    wanted = torch.cat([torch.ones_like(is_answer[:, :1]), is_answer], dim=1)
    with states_seen(model) as seen:
        logits = _logits_at(model, prompts, is_prompt, answers, is_answer, wanted=wanted)
    flat = seen[0].flatten(0, -2)
    flat = flat[: len(logits)] if packing.possible(model) else flat[wanted.flatten()]
    states = flat.new_zeros((*wanted.shape, flat.shape[-1])).index_put((wanted,), flat)
    before = torch.cat([is_answer, torch.zeros_like(is_answer[:, :1])], dim=1)
    return logits[before[wanted]], states


@contextmanager
def states_seen(model: Any) -> Iterator[list[Tensor]]:
    """A list that gets the states which the output layer reads while the model is called inside."""
    seen: list[Tensor] = []
    watch = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        watch.remove()


def _logits_at(  # noqa: PLR0913  (a batch is four tensors)
    model: Any,
    prompts: Tensor,
    is_prompt: Tensor,
    answers: Tensor,
    is_answer: Tensor,
    *,
    wanted: Tensor,
    entering: Tensor | None = None,
) -> Tensor:
    """Logits at some of the last prompt token and the answer tokens; `wanted` is (B, 1 + T) bool."""
    tokens = torch.cat([prompts, answers], dim=1)
    if not packing.possible(model):
        is_token = torch.cat([is_prompt, is_answer], dim=1)
        output = model(
            input_ids=tokens,
            attention_mask=is_token,
            position_ids=position_ids(is_token),
            use_cache=False,
            logits_to_keep=wanted.shape[1],
        )
        return output.logits[wanted]
    block = packing.block_of(model)
    is_token = packing.filled(is_prompt, is_answer, block=block)
    skipped = torch.zeros_like(is_prompt[:, 1:])
    is_kept = torch.cat([skipped, wanted], dim=1)[is_token]
    kept = is_kept.nonzero().squeeze(-1)
    read = torch.cat([kept, (~is_kept).nonzero().squeeze(-1)[: -len(kept) % block]])
    with layers.leaving_out(model, read=read, entering=None if entering is None else entering[is_token][None]):
        output = model(
            input_ids=tokens[is_token][None],
            position_ids=position_ids(is_token)[is_token][None],
            use_cache=False,
            logits_to_keep=read,
            **packing.arguments(is_token),
        )
    return output.logits[0, : len(kept)]


def at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits lose what the ratio of two probabilities needs; float64 stays."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def token_logprobs(logits: Tensor, tokens: Tensor, *, temperature: float = 1.0) -> Tensor:
    """(..., V) logits and (...) token ids → (...) log-probabilities at the temperature, in nats."""
    return _TokenLogprobs.apply(logits, tokens, temperature)


class _TokenLogprobs(torch.autograd.Function):
    """log softmax at one token, keeping the logits and one number a token for the gradient, not the softmax."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        """See `token_logprobs`."""
        scaled = _tempered(logits, temperature)
        total = torch.logsumexp(scaled, dim=-1)
        ctx.temperature = temperature
        ctx.save_for_backward(logits, tokens, total)
        return scaled.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - total

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None, None]:
        """(one-hot - softmax) / temperature, times what comes in."""
        logits, tokens, total = ctx.saved_tensors
        share = grads.unsqueeze(-1) / ctx.temperature
        found = _tempered(logits, ctx.temperature).sub(total.unsqueeze(-1)).exp_().mul_(-share)
        found.scatter_add_(-1, tokens.unsqueeze(-1), share)
        return found.to(logits.dtype), None, None


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    return at_least_float32(logits) if temperature == 1 else at_least_float32(logits) / temperature


def spread(values: Tensor, is_answer: Tensor) -> Tensor:
    """(N,) numbers of the answer tokens to (B, T), 0 where there is none."""
    return values.new_zeros(is_answer.shape).index_put((is_answer,), values)
