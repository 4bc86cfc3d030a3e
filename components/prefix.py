"""Two answers to one prompt, with the prompt computed once.

    one row of tokens:   prompt₁ first₁ second₁  prompt₂ first₂ second₂ ...

Everything but attention sees each token once. Attention (`components/packing.py`) is given two sequences a pair, prompt + first
and prompt + second, so no answer sees the other, and each has the positions that it would have alone. Models whose attention
can't be taken apart are given both sequences whole, with the same result.
Letters for shapes: B pairs, S = 2 B sequences, first and second in turn, T answer tokens, L tokens of the longest sequence,
N tokens, M answer tokens of all sequences, V vocabulary, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from components import layers, packing, sequences
from components.packing import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Shared:
    """Pairs as one row of tokens."""

    tokens: Tensor
    """(N,) token ids."""
    positions: Tensor
    """(N,) position of each token in its sequence, from 0."""
    layout: Layout
    """Where attention finds each sequence."""
    kept: Tensor
    """Indices in N, ascending, of which the logits and states are needed."""
    before: Tensor
    """(M,) indices in `kept` of the token before each answer token, sequence after sequence."""
    states: Tensor
    """(M + S,) indices in `kept`: of each sequence the last prompt token and its answer's."""
    is_state: Tensor
    """(S, T + 1) bool, True where there is a state."""


def shared(prompts: Sequence[Sequence[int]], answers: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Shared:
    """Lay out B prompts and the two answers to each."""
    tokens: list[int] = []
    positions: list[int] = []
    rows: list[list[int]] = []
    starts: list[int] = []
    for prompt, two in zip(prompts, answers, strict=True):
        begin = len(tokens)
        tokens += prompt
        positions += range(len(prompt))
        for answer in two:
            rows.append([*range(begin, begin + len(prompt)), *range(len(tokens), len(tokens) + len(answer))])
            starts.append(len(prompt))
            tokens += answer
            positions += range(len(prompt), len(prompt) + len(answer))
    wanted = [row[start - 1 :] for row, start in zip(rows, starts, strict=True)]
    kept = sorted({index for row in wanted for index in row})
    at = {index: place for place, index in enumerate(kept)}
    longest = max(len(row) for row in wanted)
    return Shared(
        torch.tensor(tokens),
        torch.tensor(positions),
        _layout(rows, len(tokens)),
        torch.tensor(kept),
        torch.tensor([at[index] for row in wanted for index in row[:-1]]),
        torch.tensor([at[index] for row in wanted for index in row]),
        torch.arange(longest) < torch.tensor([len(row) for row in wanted])[:, None],
    )


def _layout(rows: Sequence[Sequence[int]], tokens: int) -> Layout:
    """Sequences that may have tokens in common → where each token lies; a common one has a first place and others again."""
    longest = max(len(row) for row in rows)
    place, again, again_token = [-1] * tokens, [], []
    token = [0] * (len(rows) * longest)
    for number, row in enumerate(rows):
        for offset, index in enumerate(row):
            at = number * longest + offset
            token[at] = index
            if place[index] < 0:
                place[index] = at
            else:
                again.append(at)
                again_token.append(index)
    first = torch.tensor(place)
    return Layout(first, torch.tensor(token), longest, again=torch.tensor(again), again_token=torch.tensor(again_token))


def pair_output(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[tuple[Sequence[int], Sequence[int]]], *, pad: int
) -> tuple[Tensor, Tensor]:
    """As `sequences.answer_output` for both answers to each prompt.

    Returns:
        (M, V) logits from which each answer token would be drawn, sequence after sequence; (S, T + 1, H) last hidden states
        before each answer token and after the last one, 0 after that.
    """
    on = next(model.parameters()).device
    if not packing.possible(model):
        both = [prompt for prompt in prompts for _ in range(2)]
        given = sequences.left_padded(both, pad=pad)
        said = sequences.right_padded([answer for two in answers for answer in two], pad=pad)
        return sequences.answer_output(model, *(part.to(on) for part in (*given, *said)))
    plan = shared(prompts, answers)
    kept = plan.kept.to(on)
    with sequences.states_seen(model) as seen, layers.leaving_out(model, read=kept):
        output = model(
            input_ids=plan.tokens[None].to(on),
            position_ids=plan.positions[None].to(on),
            use_cache=False,
            logits_to_keep=kept,
            **packing.laid_out(plan.layout, on=on),
        )
    flat = seen[0].flatten(0, -2)
    is_state = plan.is_state.to(on)
    states = flat.new_zeros((*is_state.shape, flat.shape[-1])).index_put((is_state,), flat[plan.states.to(on)])
    return output.logits[0][plan.before.to(on)], states
