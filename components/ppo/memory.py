"""Passes over answers where memory is short: fewer at a time, and how many would fit. Shapes: B answers, T response tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch

from components.errors import ConfigRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from components.ppo.rollout import Rollout

Found = TypeVar("Found")


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
    try:
        return work()
    except RuntimeError as error:
        if not _is_short(error):
            raise
    # Only here is the memory of what failed free again.
    lengths = rollout.is_prompt.sum(dim=1) + rollout.is_response.sum(dim=1)
    message = (
        f"A pass over {answers} answers of up to {int(lengths.max())} tokens with their prompts does not fit into memory. "
    )
    raise ConfigRefused(message + _remedy(rows[lengths[rows].argsort(descending=True)], answers, trial))


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
        return [_together(each) for each in zip(*found, strict=True)]

    def some(of: Tensor) -> object:
        return work(rollout.rows(of))

    return within(all_of_it, rollout=rollout, rows=rows, answers=min(size, len(rows)), trial=some if alone else None)


def _together(parts: Sequence[Tensor]) -> Tensor:
    """(b,) or (b, t, ...) tensors as one with all rows, and with as many columns as the widest of them has."""
    if parts[0].dim() == 1:
        return torch.cat([*parts])
    columns = max(part.shape[1] for part in parts)
    found = parts[0].new_zeros((sum(map(len, parts)), columns, *parts[0].shape[2:]))
    for rows, part in zip(found.split([*map(len, parts)]), parts, strict=True):
        rows[:, : part.shape[1]] = part
    return found


def _remedy(longest_first: Tensor, answers: int, trial: Callable[[Tensor], object] | None) -> str:
    if trial is None:
        return "Lower ppo.micro_batch; the gradient stays the same."
    size = answers // 2
    while size:
        try:
            trial(longest_first[:size])
        except RuntimeError as error:
            if not _is_short(error):
                raise
            size //= 2
        else:
            return f"Set ppo.micro_batch to {size}, which was tried and fits; the gradient stays the same."
    return "Not even one fits: lower ppo.max_new_tokens, or give shorter prompts or a smaller base model."


def _is_short(error: RuntimeError) -> bool:
    """PyTorch has a class for it on a GPU, and only words on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
