"""Batches of a small model are shared among processes, forked when there is work: the weights are in memory once.

A product of a small model is too short to be shared among threads, and threads that take batches each wait for Python's lock.
What a batch gives is computed by one thread however many processes there are, so how many makes no difference to it.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from components import models
from components.errors import TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Row = TypeVar("Row")
Batch = TypeVar("Batch")
Done = TypeVar("Done")

SMALL = 8_000_000
"""Parameters of a model up to which processes take batches each; a larger one shares its products among threads."""


def is_small(model: Any) -> bool:
    """Whether batches are shared among processes: on a CPU only, since a process can't be forked with a GPU in use."""
    return model.device.type == "cpu" and models.parameter_count(model) <= SMALL


def batches(rows: Sequence[Row], size: int, *, even: bool) -> list[Sequence[Row]]:
    """The rows in their order, at most `size` together; where asked for, an even number of batches of one size, if it can be.

    Two processes are then done at one time. The batches do not depend on how many processes there are.
    """
    if rows and even:
        count = math.ceil(len(rows) / size)
        size = math.ceil(len(rows) / (count + count % 2))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def share(parts: Sequence[Batch], work: Callable[[Batch], Done]) -> list[Done]:
    """What the work gives for each batch, in their order: as many processes as this one has threads take turns.

    Args:
        parts: The batches.
        work: What it gives is sent from one process to another; nothing else that it does is seen by the others.

    Raises:
        TryAgain: A process ended without an answer, for want of memory perhaps. What the work itself raises is raised here.
    """
    count = min(torch.get_num_threads(), len(parts))
    with _one_thread():
        forked = [_fork(parts[place::count], work) for place in range(1, count)]
        try:
            shares = [[work(part) for part in parts[::count]], *(_received(answers) for _, answers in forked)]
        finally:
            for process, answers in forked:
                answers.close()
                process.terminate()
                process.join()
    return [shares[place % count][place // count] for place in range(len(parts))]


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fork(parts: Sequence[Batch], work: Callable[[Batch], Done]) -> tuple[BaseProcess, Connection]:
    """A process that does the work, and where its answers come from."""
    context = multiprocessing.get_context("fork")
    answers, answer = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(answer, parts, work), daemon=True)
    process.start()
    answer.close()
    return process, answers


def _answer(answer: Connection, parts: Sequence[Batch], work: Callable[[Batch], Done]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the step's own handler tidies up after the step
    try:
        answer.send([work(part) for part in parts])
    except Exception as error:  # noqa: BLE001  (raised again by the process that asked)
        answer.send(error)


def _received(answers: Connection) -> list[Any]:
    try:
        found: list[Any] | Exception = answers.recv()
    except EOFError:
        message = (
            "A process that asked a model ended without an answer. Look whether memory ran out; a smaller "
            "evaluate.batch_size needs less."
        )
        raise TryAgain(message) from None
    if isinstance(found, Exception):
        raise found
    return found
