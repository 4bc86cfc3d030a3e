"""Several batches at once through one small model: every thread has modules of its own over the same weights.

A product of a small model is too short to be shared among threads, but batches need nothing of each other. What a batch gives
is computed by one thread however many there are, so how many makes no difference to it.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from components import models

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Batch = TypeVar("Batch")
Done = TypeVar("Done")

SMALL = 8_000_000
"""Parameters of a model up to which threads take batches each; a larger one shares its products among them."""


def seats(model: Any) -> list[Any]:
    """The model, and for a small one on a CPU its twins: as many together as the model was given threads."""
    alone = model.device.type != "cpu" or models.parameter_count(model) > SMALL
    return [model, *(_twin(model) for _ in range(0 if alone else torch.get_num_threads() - 1))]


def _twin(model: Any) -> Any:
    """Modules with a state of their own (adapter, cache, inputs in between), and the model's own weights and buffers."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})


def share(seats: Sequence[Any], batches: Sequence[Batch], work: Callable[[Any, Batch], Done]) -> list[Done]:
    """What the work gives for each batch, in their order. A seat that is free takes the next one.

    Args:
        seats: See `seats`; one that is alone uses all threads.
        batches: What there is to do.
        work: Given a seat and a batch; must change nothing that another batch needs.
    """
    if len(seats) == 1:
        return [work(seats[0], batch) for batch in batches]
    free: SimpleQueue[Any] = SimpleQueue()
    for seat in seats:
        free.put(seat)

    def seated(batch: Batch) -> Done:
        seat = free.get()
        try:
            return work(seat, batch)
        finally:
            free.put(seat)

    with ThreadPoolExecutor(len(seats), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(seated, batches))
