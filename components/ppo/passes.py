"""Passes over answers where memory is short: fewer at a time, and how many would fit. Shapes: B answers, T response tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch

from components import memory
from components.memory import Remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from components.ppo.rollout import Rollout

Found = TypeVar("Found")

HOPELESS = "lower ppo.max_new_tokens, or give shorter prompts or a smaller base model"
READING = Remedy("ppo.micro_batch", "the gradient stays the same", HOPELESS)
SAMPLING = Remedy("ppo.sample_batch", "the answers stay the same", HOPELESS)


def within(
    work: Callable[[], Found], *, rollout: Rollout, rows: Tensor, answers: int, trial: Callable[[Tensor], object] | None
) -> Found:
    """What `work` gives.

    Args:
        work: Passes over some of the answers, `answers` at a time.
        rollout: All answers.
        rows: Those that `work` passes over.
        answers: How many were read at once.
        trial: A pass over the rows that it is given; None where a process can't make one by itself.

    Raises:
        ConfigRefused: Memory is short. The message has the `micro_batch` that fits.
    """
    lengths = rollout.is_prompt.sum(dim=1) + rollout.is_response.sum(dim=1)
    return memory.within(
        work,
        told=lambda: f"{answers} answers of up to {int(lengths.max())} tokens with their prompts",
        items=answers,
        trial=trial and (lambda size: trial(rows[lengths[rows].argsort(descending=True)][:size])),
        remedy=READING,
    )


def in_passes(
    rollout: Rollout, work: Callable[[Rollout], Sequence[Tensor]], *, at_once: int, most: int = 0, alone: bool = True
) -> list[Tensor]:
    """What a forward pass gives for every answer, read `at_once` at a time.

    Args:
        rollout: B answers.
        work: Gives (b,) or (b, t, ...) tensors for b of them, whose longest has t tokens; or whose longest prompt has.
        at_once: Answers in a pass; 0 for all.
        most: Answers of the process that has most, where several share them: all make as many passes. 0: nobody has more.
        alone: Whether this process can make a pass by itself.

    Returns:
        The tensors of all answers, (B,) or (B, T, ...), 0 where an answer has no token.

    Raises:
        ConfigRefused: As `within`.
    """
    rows = torch.arange(len(rollout.responses), device=rollout.responses.device)
    size = at_once or most or len(rows)
    parts = rows.tensor_split(math.ceil((most or len(rows)) / size))

    def all_of_it() -> list[Tensor]:
        if len(parts) == 1:
            return [*work(rollout)]
        # Whoever has no answer left reads the first one again, which does not count.
        found = [[each[: len(part)] for each in work(rollout.rows(part if len(part) else rows[:1]))] for part in parts]
        return [together(each) for each in zip(*found, strict=True)]

    def some(of: Tensor) -> object:
        return work(rollout.rows(of))

    return within(all_of_it, rollout=rollout, rows=rows, answers=min(size, len(rows)), trial=some if alone else None)


def together(parts: Sequence[Tensor]) -> Tensor:
    """(b,) or (b, t, ...) tensors as one with all rows, and with as many columns as the widest of them has."""
    if parts[0].dim() == 1:
        return torch.cat([*parts])
    columns = max(part.shape[1] for part in parts)
    found = parts[0].new_zeros((sum(map(len, parts)), columns, *parts[0].shape[2:]))
    for rows, part in zip(found.split([*map(len, parts)]), parts, strict=True):
        rows[:, : part.shape[1]] = part
    return found
