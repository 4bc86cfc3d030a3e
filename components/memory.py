"""What a step says where memory is short: which setting to lower, and to how much, which is tried before it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from components.errors import ConfigRefused

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")


@dataclass(frozen=True)
class Remedy:
    """What helps where memory is short."""

    setting: str
    """That says how many are read at once."""
    same: str
    """What stays the same whatever it says."""
    hopeless: str
    """What helps where not even one fits."""

    def told(self, items: int, trial: Callable[[int], object] | None) -> str:
        """What to set it to: the first of half as many, a quarter, and so on, that passes the trial."""
        if trial is None:
            return f"Lower {self.setting}; {self.same}."
        size = items // 2
        while size:
            try:
                trial(size)
            except RuntimeError as error:
                if not is_short(error):
                    raise
                size //= 2
            else:
                return f"Set {self.setting} to {size}, which was tried and fits; {self.same}."
        return f"Not even one fits: {self.hopeless}."


def within(
    work: Callable[[], Found],
    *,
    told: Callable[[], str],
    items: int,
    trial: Callable[[int], object] | None,
    remedy: Remedy,
) -> Found:
    """What `work` gives.

    Args:
        work: Passes over something, `items` at a time.
        told: What a pass is over, for the message.
        items: How many are read at once.
        trial: A pass over so many of the longest; None where a process can't make one by itself.
        remedy: What to do.

    Raises:
        ConfigRefused: Memory is short. The message has how many fit.
    """
    try:
        return work()
    except RuntimeError as error:
        if not is_short(error):
            raise
    # Only here is the memory of what failed free again.
    message = f"A pass over {told()} does not fit into memory. {remedy.told(items, trial)}"
    raise ConfigRefused(message)


def is_short(error: RuntimeError) -> bool:
    """PyTorch has a class for it on a GPU, and only words on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
