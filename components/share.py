"""The share of a batch that is one process's, and how shares come together. Alone, everything is.

Row i (an answer, a pair, a demonstration) belongs to process i mod n; `components/ranks.py` starts them. Gradients are added
up, so that n processes take the same optimiser steps as one, but for the order of sums. What every process needs of the others
are numbers by token, never states of the model.

With `sharding = "full"` the frozen base is split, too: a process holds one part of every layer, and all meet at every layer
to compute. So all call the model equally often, where a share is empty or done as well. docs/decisions/0054-sharding.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from components.context import Context


@dataclass(frozen=True)
class Share:
    """One of `ranks` processes."""

    rank: int = 0
    ranks: int = 1
    sharded: bool = False
    """Whether each holds a part of the base, and not the whole."""

    @classmethod
    def at(cls, context: Context[Any]) -> Share:
        """The share of the process that a step runs in."""
        return cls(context.rank, context.ranks, sharded=context.ranks > 1 and context.config.sharding == "full")

    @property
    def parts(self) -> int:
        """Into how many the base is split."""
        return self.ranks if self.sharded else 1

    def all(self, *, is_so: bool) -> bool:
        """Whether it is so with everybody whom this process meets at the layers of the base."""
        if not self.sharded:
            return is_so
        agreeing = torch.tensor(int(is_so))
        distributed.all_reduce(agreeing, op=distributed.ReduceOp.MIN)
        return bool(agreeing)

    def of(self, rows: Tensor) -> Tensor:
        """Those of the rows that are this process's; (n,) indices to (m,)."""
        return rows if self.ranks == 1 else rows[rows % self.ranks == self.rank]

    def passes(self, rows: Tensor, *, most: int) -> list[tuple[Tensor, bool]]:
        """This process's rows, `most` at once (0: all), and whether they count.

        Where the base is split, a process without as many passes as another reads its first row again, which does not count.
        """
        own = [(part, True) for part in self.of(rows).split(most or max(1, len(rows))) if len(part)]
        if not self.sharded:
            return own
        sizes = [len(Share(rank, self.ranks).of(rows)) for rank in range(self.ranks)]
        passes = max(math.ceil(size / (most or len(rows))) for size in sizes)
        return own + [(rows.new_tensor([self.rank]), False)] * (passes - len(own))

    def whole(self, mine: Tensor, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A tensor of this shape with everybody's answers, 0 where an answer has less. `mine` are those at `rows`."""
        if self.ranks == 1:
            return mine
        found = mine.new_zeros(shape)
        found[(rows, *(slice(size) for size in mine.shape[1:]))] = mine
        distributed.all_reduce(found)
        return found

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Put the sum of everybody's gradients in place of this process's."""
        if self.ranks == 1:
            return
        trained = list(parameters)
        for each in trained:
            each.grad = torch.zeros_like(each) if each.grad is None else each.grad
        together = torch.cat([each.grad.flatten() for each in trained if each.grad is not None])
        distributed.all_reduce(together)
        for each, grad in zip(trained, together.split([each.numel() for each in trained]), strict=True):
            each.grad = grad.view_as(each).clone()

    def agree(self, parameters: Iterable[Tensor]) -> None:
        """Put the first process's numbers in place of everybody's: processes that compute the same may round differently."""
        if self.ranks > 1:
            for each in parameters:
                distributed.broadcast(each.data, src=0)

    def added(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The sums of everybody's numbers, by name."""
        if self.ranks == 1:
            return dict(numbers)
        together = torch.tensor(list(numbers.values()), dtype=torch.float64)
        distributed.all_reduce(together)
        return dict(zip(numbers, together.tolist(), strict=True))


ALONE = Share()
