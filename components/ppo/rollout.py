"""Answers sampled from the policy, with their log-probabilities. Shapes: B sequences, P prompt tokens, T response tokens.

How a batch is laid out: components/sequences.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from components.ppo.losses import entropy
from components.sequences import at_least_float32, left_padded, position_ids, token_logprobs

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
        is_prompt, is_response = self.is_prompt[chosen], self.is_response[chosen]
        first = self.prompts.shape[1] - int(is_prompt.sum(dim=1).max())
        last = int(is_response.sum(dim=1).max())
        return Rollout(
            self.prompts[chosen, first:],
            is_prompt[:, first:],
            self.responses[chosen, :last],
            is_response[:, :last],
            self.logprobs[chosen, :last],
            self.entropies[chosen, :last],
            self.has_eos[chosen],
        )


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


def draw(logits: Tensor, uniforms: Tensor, *, temperature: float) -> Tensor:
    """Sample one token a row by inverting the cumulative distribution.

    Args:
        logits: (B, V) float.
        uniforms: (B,) float64 in [0, 1), one a row, so that a row's token does not depend on the other rows.
        temperature: Of the sampling.

    Returns:
        (B,) token ids; a token of probability 0 is never drawn.
    """
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    targets = uniforms * cumulative[:, -1]
    return torch.searchsorted(cumulative, targets.unsqueeze(-1), right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


@torch.no_grad()
def sample(
    model: Any, prompts: Sequence[Sequence[int]], *, uniforms: Tensor, temperature: float, eos: int, pad: int
) -> Rollout:
    """Answer prompts with the active adapter, one token at a time; a finished sequence leaves the batch.

    Args:
        model: A causal language model.
        prompts: Token ids, each ending where the answer begins.
        uniforms: (B, T) float64 in [0, 1): the randomness of each sequence; T is the longest answer.
        temperature: Of the sampling.
        eos: Id of the end-of-sequence token.
        pad: Id to pad with.
    """
    tokens, is_prompt = (part.to(model.device) for part in left_padded(prompts, pad=pad))
    uniforms = uniforms.to(model.device)
    responses = torch.full(uniforms.shape, pad, device=model.device)
    logprobs = at_least_float32(torch.zeros(uniforms.shape, dtype=model.dtype, device=model.device))
    entropies = torch.zeros_like(logprobs)
    going = torch.arange(len(prompts), device=model.device)
    cache, new, attended, positions = DynamicCache(), tokens, is_prompt, position_ids(is_prompt)
    for t in range(uniforms.shape[1]):
        logits = _next_logits(model, new, attended, positions, cache)
        drawn = draw(logits, uniforms[going, t], temperature=temperature)
        responses[going, t] = drawn
        logprobs[going, t] = token_logprobs(logits, drawn, temperature=temperature)
        entropies[going, t] = entropy(at_least_float32(logits) / temperature)
        goes_on = (drawn != eos).nonzero().squeeze(-1)
        if len(goes_on) == 0:
            break
        if len(goes_on) < len(going):
            cache.batch_select_indices(goes_on)
        going, new = going[goes_on], drawn[goes_on].unsqueeze(1)
        positions = positions[goes_on, -1:] + 1
        attended = torch.cat([attended[goes_on], torch.ones_like(new, dtype=torch.bool)], dim=1)
    is_response, has_eos = until_eos(responses, eos=eos)
    longest = int(is_response.sum(dim=1).max())
    cut = slice(None), slice(longest)
    return Rollout(tokens, is_prompt, responses[cut], is_response[cut], logprobs[cut], entropies[cut], has_eos)


def _next_logits(model: Any, new: Tensor, attended: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
    output = model(
        input_ids=new,
        attention_mask=attended,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1]
