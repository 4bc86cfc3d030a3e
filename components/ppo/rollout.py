"""Answers sampled from the policy, with their log-probabilities. Shapes: B sequences, P prompt tokens, T response tokens.

How a batch is laid out: components/sequences.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from components import lowrank
from components.ppo import passes
from components.reader import Reader
from components.sequences import left_padded
from components.share import ALONE, Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """A batch of sampled answers."""

    prompts: Tensor
    """(B, P) token ids, padded on the left."""
    is_prompt: Tensor
    """(B, P) bool, True where a token is not padding."""
    responses: Tensor
    """(B, T) token ids, padded on the right."""
    is_response: Tensor
    """(B, T) bool, True from the first token to the end-of-sequence token."""
    logprobs: Tensor
    """(B, T) log-probabilities of the response tokens when they were sampled, 0 after the end. [nat]"""
    entropies: Tensor
    """(B, T) entropy of the distribution each response token was sampled from, 0 after the end. [nat]"""
    has_eos: Tensor
    """(B,) bool, True where the answer ended by itself."""

    def rows(self, chosen: Tensor) -> Rollout:
        """The same for some of the sequences, without columns that only the others used."""
        is_response = self.is_response[chosen]
        first, last = self.columns(chosen)
        return Rollout(
            self.prompts[chosen, first:],
            self.is_prompt[chosen, first:],
            self.responses[chosen, :last],
            is_response[:, :last],
            self.logprobs[chosen, :last],
            self.entropies[chosen, :last],
            self.has_eos[chosen],
        )

    def columns(self, chosen: Tensor) -> tuple[int, int]:
        """Where the longest prompt of some of the sequences begins, and where their longest response ends."""
        first = self.prompts.shape[1] - int(self.is_prompt[chosen].sum(dim=1).max())
        return first, int(self.is_response[chosen].sum(dim=1).max())


def until_eos(responses: Tensor, *, eos: int) -> tuple[Tensor, Tensor]:
    """Which tokens of sampled responses count.

    Args:
        responses: (B, T) token ids; whatever follows the first end-of-sequence token is ignored.
        eos: Id of the end-of-sequence token.

    Returns:
        (B, T) bool, True up to the first end-of-sequence token, which counts itself; (B,) bool, True where there is one.
    """
    is_eos = responses == eos
    ended_before = is_eos.long().cumsum(dim=1) - is_eos.long() > 0
    return ~ended_before, is_eos.any(dim=1)


def draw(logits: Tensor, uniforms: Tensor, *, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sample one token a row by inverting the cumulative distribution.

    Args:
        logits: (B, V) float.
        uniforms: (B,) float64 in [0, 1), one a row, so that a row's token does not depend on the other rows.
        temperature: Of the sampling.

    Returns:
        (B,) token ids, their (B,) log-probabilities and the (B,) entropies of what they were drawn from, both float64, in
        nats. A token of probability 0 is never drawn.
    """
    logprobs = torch.log_softmax(logits.double() / temperature, dim=-1)
    chances = logprobs.exp()
    cumulative = chances.cumsum(dim=-1)
    targets = uniforms * cumulative[:, -1]
    drawn = torch.searchsorted(cumulative, targets.unsqueeze(-1), right=True).clamp_(max=logits.shape[-1] - 1)
    # A logit of -inf has probability 0, and 0 times its logarithm counts as 0.
    entropies = -chances.mul_(logprobs.clamp(min=torch.finfo(logprobs.dtype).min)).sum(dim=-1)
    return drawn.squeeze(-1), logprobs.gather(-1, drawn).squeeze(-1), entropies


@torch.no_grad()
def sample(  # noqa: PLR0913  (each keyword is one choice of decoding)
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    uniforms: Tensor,
    temperature: float,
    eos: int,
    pad: int,
    share: Share = ALONE,
) -> Rollout:
    """Answer prompts with the active adapter, one token at a time; finished sequences leave the batch.

    Args:
        model: A causal language model.
        prompts: Token ids, each ending where the answer begins.
        uniforms: (B, T) float64 in [0, 1): the randomness of each sequence; T is the longest answer.
        temperature: Of the sampling.
        eos: Id of the end-of-sequence token.
        pad: Id to pad with.
        share: Of the process. Where the base is split, nobody stops before all are done.
    """
    tokens, is_prompt = (part.to(model.device) for part in left_padded(prompts, pad=pad))
    uniforms = uniforms.to(model.device)
    responses = torch.full(uniforms.shape, pad, device=model.device)
    logprobs, entropies = torch.zeros_like(uniforms), torch.zeros_like(uniforms)
    reader = Reader(model, is_prompt, longest=tokens.shape[1] + uniforms.shape[1])
    rows, is_over = torch.arange(len(prompts), device=model.device), torch.zeros_like(is_prompt[:, 0])
    with lowrank.still(model):
        logits = reader.read(tokens)
        for t in range(uniforms.shape[1]):
            drawn, logprobs[rows, t], entropies[rows, t] = draw(logits, uniforms[rows, t], temperature=temperature)
            responses[rows, t] = drawn
            is_over = is_over | (drawn == eos)
            is_done = bool(is_over.all())
            if share.all(is_so=is_done) or t + 1 == uniforms.shape[1]:
                break
            if is_done:  # what follows an end is ignored
                is_over[0] = False
            kept = reader.without(is_over)
            rows, drawn, is_over = rows[kept], drawn[kept], is_over[kept]
            logits = reader.read(drawn.unsqueeze(1))
    is_response, has_eos = until_eos(responses, eos=eos)
    longest = int(is_response.sum(dim=1).max())
    cut = slice(None), slice(longest)
    kind = torch.promote_types(model.dtype, torch.float32)
    logprobs, entropies = ((part * is_response)[cut].to(kind) for part in (logprobs, entropies))
    said = torch.where(is_response, responses, pad)
    return Rollout(tokens, is_prompt, said[cut], is_response[cut], logprobs, entropies, has_eos)


def joined(parts: Sequence[Rollout], *, pad: int) -> Rollout:
    """Some answers and then others, as one batch."""
    if len(parts) == 1:
        return parts[0]
    responses, is_response, logprobs, entropies = (
        passes.together([getattr(part, name) for part in parts])
        for name in ("responses", "is_response", "logprobs", "entropies")
    )
    prompts, is_prompt = (
        passes.together([getattr(part, name).flip(1) for part in parts]).flip(1) for name in ("prompts", "is_prompt")
    )
    return Rollout(
        torch.where(is_prompt, prompts, pad),
        is_prompt,
        torch.where(is_response, responses, pad),
        is_response,
        logprobs,
        entropies,
        torch.cat([part.has_eos for part in parts]),
    )


def together(mine: Rollout, prompts: Sequence[Sequence[int]], rows: Tensor, *, share: Share, longest: int, pad: int) -> Rollout:
    """The answers of all processes to all prompts; `mine` are those at `rows`, and none is longer than `longest`."""
    if share.ranks == 1:
        return mine
    device, shape = mine.responses.device, (len(prompts), longest)
    tokens, is_prompt = (part.to(device) for part in left_padded(prompts, pad=pad))
    is_response = share.whole(mine.is_response.int(), rows, shape).bool()
    cut = slice(None), slice(int(is_response.sum(dim=1).max()))
    return Rollout(
        tokens,
        is_prompt,
        torch.where(is_response, share.whole(mine.responses, rows, shape), pad)[cut],
        is_response[cut],
        share.whole(mine.logprobs, rows, shape)[cut],
        share.whole(mine.entropies, rows, shape)[cut],
        share.whole(mine.has_eos.int(), rows, shape[:1]).bool(),
    )
