"""Answers from a causal language model, many at once, so that two policies differ only where their probabilities do.

Every answer has its own noise, drawn from the seed and the words of its prompt. So an answer does not depend on what else is
in the batch, and two models that are asked the same meet the same noise: where they agree about the probabilities they say
the same. Comparing them then needs far fewer prompts than with independent noise.

Letters for shapes: B sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

from components import lowrank
from components.errors import ModelRefused
from components.reader import Reader
from components.sequences import at_least_float32, left_padded, position_ids, right_padded, token_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SIGN_BIT = 1 << 63
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""Constants of SplitMix64, https://prng.di.unimi.it/splitmix64.c."""
CACHED = 32768
"""Numbers that are mixed at once on a CPU, 256 kB of them: a batch's whole noise would go through memory twenty times."""


def noise_seed(seed: int, words: str, draw: int) -> int:
    """Where the noise of one answer starts: from the run's seed, the words of its prompt, and which of its answers it is."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{draw}/{words}".encode()).digest()[:8], "big", signed=True)


def gumbel(starts: Tensor, at: int, vocabulary: int) -> Tensor:
    """Standard Gumbel noise for one step, a function of its arguments alone.

        g = -log(-log u),  u = SplitMix64(start + (at · V + v) · φ) / 2⁶⁴

    Args:
        starts: (B,) int64, see `noise_seed`.
        at: Number of the token within the answer.
        vocabulary: V.

    Returns:
        (B, V) float32. Adding it to log-probabilities and taking the largest samples from them (Gumbel-max).

    Source: Maddison et al. 2014, https://arxiv.org/abs/1411.0030, section 2; shared noise couples two models' samples.
    """
    place = torch.arange(at * vocabulary, (at + 1) * vocabulary, device=starts.device) * _signed(GOLDEN_RATIO)
    rows = max(1, CACHED // vocabulary) if starts.device.type == "cpu" else len(starts)
    return torch.cat([_gumbel(part.unsqueeze(1) + place) for part in starts.split(rows)])


def _gumbel(bits: Tensor) -> Tensor:
    """Mixes the counters, which it overwrites, and makes Gumbel noise of them."""
    for by, factor in zip((30, 27), MULTIPLIERS, strict=True):
        bits.bitwise_xor_(_shifted(bits, by)).mul_(_signed(factor))
    bits.bitwise_xor_(_shifted(bits, 31))
    uniforms = _shifted(bits, 11).double().add_(0.5).div_(2**53)
    return uniforms.log_().neg_().log_().neg_().float()


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >= SIGN_BIT else constant


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Logical shift to the right: torch's own copies the sign."""
    return (bits >> by).bitwise_and_((1 << (64 - by)) - 1)


@torch.inference_mode()
def decode(  # noqa: PLR0913  (each keyword is one choice of decoding)
    model: Any,
    prompts: Sequence[Sequence[int]],
    starts: Sequence[int],
    *,
    longest: int,
    temperature: float,
    eos: int,
    pad: int,
) -> list[list[int]]:
    """One answer to each prompt, by the active adapter; finished answers leave the batch.

    Args:
        model: A causal language model.
        prompts: Token ids, each ending where the answer begins.
        starts: Noise of each answer, see `noise_seed`.
        longest: Tokens of the longest answer.
        temperature: 0 takes the likeliest token each time.
        eos: Id of the end-of-sequence token; not part of the answer.
        pad: Id to pad with.

    Raises:
        ModelRefused: A logit is not a number.
    """
    tokens, is_token = (part.to(model.device) for part in left_padded(prompts, pad=pad))
    noise = torch.tensor(starts, dtype=torch.int64, device=model.device)
    answers: list[list[int]] = [[] for _ in prompts]
    reader = Reader(model, is_token, longest=tokens.shape[1] + longest)
    rows, is_over = torch.arange(len(prompts), device=model.device), torch.zeros_like(is_token[:, 0])
    with lowrank.still(model):
        logits = reader.read(tokens)
        for at in range(longest):
            drawn = _draw(finite(logits), noise[rows], at, temperature)
            is_over |= drawn == eos
            going = (~is_over).nonzero().squeeze(-1)
            for row, token in zip(rows[going].tolist(), drawn[going].tolist(), strict=True):
                answers[row].append(token)
            if len(going) == 0 or at + 1 == longest:
                break
            kept = reader.without(is_over)
            rows, drawn, is_over = rows[kept], drawn[kept], is_over[kept]
            logits = reader.read(drawn.unsqueeze(1))
    return answers


def _draw(logits: Tensor, noise: Tensor, at: int, temperature: float) -> Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    return (at_least_float32(logits) / temperature + gumbel(noise, at, logits.shape[-1])).argmax(dim=-1)


def finite(logits: Tensor) -> Tensor:
    """The logits, if all are numbers.

    Raises:
        ModelRefused: One is NaN or infinite, or all of a row are minus infinity: a choice among them would mean nothing.
    """
    if torch.isnan(logits).any() or torch.isposinf(logits).any() or torch.isneginf(logits).all(dim=-1).any():
        message = (
            "The model gives logits that are not numbers. Look at how its adapter was trained: a loss that became NaN, "
            "or weights that overflow in this precision."
        )
        raise ModelRefused(message)
    return logits


@torch.inference_mode()
def likelihoods(model: Any, prompts: Sequence[Sequence[int]], endings: Sequence[Sequence[int]], *, pad: int) -> list[float]:
    """Log-probability of each ending after its prompt, Σ_t log p(ending_t | prompt, ending_<t), in nats.

    Args:
        model: A causal language model with the adapter that is to be measured active.
        prompts: Token ids, at least one each.
        endings: Token ids, at least one each.
        pad: Id to pad with; never counted.

    Raises:
        ModelRefused: A logit is not a number.
    """
    before, is_before = (part.to(model.device) for part in left_padded(prompts, pad=pad))
    after, is_after = (part.to(model.device) for part in right_padded(endings, pad=pad))
    is_token = torch.cat([is_before, is_after], dim=1)
    with lowrank.still(model):
        logits = model(
            input_ids=torch.cat([before, after], dim=1),
            attention_mask=is_token,
            position_ids=position_ids(is_token),
            use_cache=False,
            logits_to_keep=after.shape[1] + 1,
        ).logits[:, :-1]
    found: list[float] = token_logprobs(finite(logits), after).masked_fill(~is_after, 0.0).sum(dim=1).tolist()
    return found
