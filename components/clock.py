"""Where a step's time goes."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Clock:
    """Seconds spent, by phase: startup, input, work, logging."""

    seconds: dict[str, float] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time inside to `name`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


def since_spawn() -> float:
    """Seconds between the runtime's decision to start this process and now; from process creation if it did not say."""
    import psutil  # noqa: PLC0415

    spawned = os.environ.get("PLUMBLINE_SPAWNED_AT")
    return max(0.0, time.time() - (float(spawned) if spawned else psutil.Process().create_time()))
