"""Several processes of one step, as torchrun starts them: rank 0 leads, the others only help with the work.

    rank 0        inputs by lineage, key, lock ─ lead ─ run(context) ─ meet ─ publish, sign, finish
    every other                          follow ─ hear ─ run(context) ─ meet ─ end

Rank 0 alone resolves inputs and writes lineage. What it found goes to the others as JSON, never as a pickle; on every other
machine the first process fetches the same artifacts and checks their digests. Nothing is published before all have done
their work. A rank that fails or is killed ends all: the launcher (`components/spread.py`) stops the others, and the exit code
of the first failure is the step's. A step that does not spread is done by rank 0; the others end at once.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import config as settings
from components import history
from components.context import Context, Published
from components.errors import TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from components.catalog import Step

PATIENCE_SECONDS = 20.0
"""How long a rank that lost another waits to be stopped by the launcher, so that the first failure's exit code counts."""


@dataclass(frozen=True)
class Place:
    """Where a process stands among all of its step."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Rank on its machine."""
    node: int = 0
    """Number of its machine."""

    @property
    def leads(self) -> bool:
        """Whether it is the one that resolves and publishes."""
        return self.rank == 0


def here() -> Place:
    """This process's place, as torchrun tells it; alone where it tells nothing."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")
    rank, size, local, node = (
        int(os.environ.get(name) or fallback) for name, fallback in zip(names, (0, 1, 0, 0), strict=True)
    )
    return Place(rank, size, local, node)


def together(step: Step) -> bool:
    """Whether the step is worked on by several processes now."""
    return step.spreads and here().size > 1


def lead(context: Context[Any], inputs: Mapping[str, Published], config: Mapping[str, Any]) -> None:
    """Rank 0 tells the others what to work on. Nothing happens where it is alone."""
    if not together(context.step):
        return
    found = {
        "config": dict(config),
        "external": dict(context.external),
        "inputs": {name: asdict(item) for name, item in inputs.items()},
        "paths": {name: str(path) for name, path in context.inputs.items()},
        "scratch": str(context.scratch),
    }
    _tell(context.step, found)
    _meet()
    context.rank, context.ranks = 0, here().size


def dismiss(step: Step) -> None:
    """Rank 0 tells the others that there is nothing to do: a finished run stands in."""
    if together(step):
        _tell(step, {})


def work(context: Context[Any], run: Callable[[Context[Any]], None]) -> None:
    """Do the work; with others, until all have done theirs."""
    if not together(context.step):
        run(context)
        return
    with _in_touch(context.step):
        run(context)
        _meet()


def follow(step: Step, pipeline_run: str) -> None:
    """What every rank but the first does."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # it has nothing to tidy up, and may be waiting inside torch
    if not together(step):
        return
    with _in_touch(step):
        found = _hear(step)
        if not found:
            return
        place, scratch = here(), Path(found["scratch"])
        mine = scratch / f"rank-{place.rank}"
        mine.mkdir(parents=True, exist_ok=True)
        if place.node and not place.local:
            _fetch(scratch / f"node-{place.node}", found["inputs"])
        _meet()
        paths = {name: Path(path) for name, path in found["paths"].items()}
        if place.node:
            paths = {name: (scratch / f"node-{place.node}" / name).resolve() for name in paths}
        config = settings.load(found["config"], where="what rank 0 said")
        context = Context(
            step=step,
            config=config.sections[step.name],
            seed=config.seed,
            inputs=paths,
            scratch=mine,
            checkpoints=scratch / "checkpoints",
            pipeline_run=pipeline_run,
            input_digests={name: item["digest"] for name, item in found["inputs"].items()},
            sections={name: config.sections[name] for name in step.sections},
            external=found["external"],
            rank=place.rank,
            ranks=place.size,
        )
        try:
            importlib.import_module(f"components.{step.name}.step").run(context)
            _meet()
        finally:
            shutil.rmtree(mine, ignore_errors=True)


def _fetch(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Get the inputs to a machine that rank 0 is not on: a folder of links, by name."""
    from components.lineage import Lineage  # noqa: PLC0415  (1 to 4 s import)

    lineage = Lineage(os.environ["MLFLOW_TRACKING_URI"], artifacts=os.environ.get("PLUMBLINE_ARTIFACTS"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, item in inputs.items():
        (folder / name).symlink_to(history.checked(lineage, Published(**item)))


@contextmanager
def _in_touch(step: Step) -> Iterator[None]:
    """Turns a broken connection into `TryAgain`, after the launcher had the time to stop this process for the true reason.

    Raises:
        TryAgain: Another rank is gone, and nobody stopped this one.
    """
    from torch import distributed  # noqa: PLC0415  (only where several processes work)

    try:
        yield
    except (distributed.DistError, RuntimeError) as error:
        if not _is_lost(error):
            raise
        time.sleep(PATIENCE_SECONDS)
        message = f"Another process of `{step.name}` is gone ({str(error).splitlines()[0][:160]}). Run the step again."
        raise TryAgain(message) from error


def _is_lost(error: Exception) -> bool:
    """Whether the error is about the connection and not about the work."""
    from torch import distributed  # noqa: PLC0415  (only where several processes work)

    signs = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")
    return isinstance(error, distributed.DistError) or any(sign in str(error) for sign in signs)


def _join(step: Step) -> Any:
    """The process group, made once."""
    import torch  # noqa: PLC0415  (only where several processes work)
    from torch import distributed  # noqa: PLC0415

    if not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(here().local)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=timedelta(hours=step.timeout_hours))
    return distributed


def _tell(step: Step, found: Mapping[str, Any]) -> None:
    import torch  # noqa: PLC0415  (only where several processes work)

    distributed = _join(step)
    text = torch.tensor(list(json.dumps(found).encode()), dtype=torch.uint8)
    distributed.broadcast(torch.tensor([len(text)]), src=0)
    distributed.broadcast(text, src=0)


def _hear(step: Step) -> dict[str, Any]:
    import torch  # noqa: PLC0415  (only where several processes work)

    distributed = _join(step)
    size = torch.zeros(1, dtype=torch.int64)
    distributed.broadcast(size, src=0)
    text = torch.empty(int(size), dtype=torch.uint8)
    distributed.broadcast(text, src=0)
    found: dict[str, Any] = json.loads(bytes(text.tolist()))
    return found


def _meet() -> None:
    """Wait until everybody is here."""
    import torch  # noqa: PLC0415  (only where several processes work)
    from torch import distributed  # noqa: PLC0415

    distributed.all_reduce(torch.zeros(1))
