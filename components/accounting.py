"""What the work of a step took of its machine: peak memory, and energy where a device counts it.

Wall time is measured by `components/clock.py`.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from components.context import Context

POWERCAP = Path("/sys/class/powercap")
KWH = 3.6e6
"""Joules."""
Counter = dict[str, float]
"""Device → joules since some moment."""


@contextmanager
def metered(context: Context[Any], *, powercap: Path = POWERCAP) -> Iterator[None]:
    """Measure the work done inside, where the step trains or scores models.

    Does not cover: other processes. A processor's counter is of the whole package, so on a shared machine it reads high; memory
    on a CPU is the process's greatest so far, imports included.
    """
    if not context.step.gpu:
        yield
        return
    before = joules(powercap)
    yield
    after = joules(powercap)
    context.measure("peak_memory_bytes", _peak(), unit="bytes")
    spent = {name: _spent(powercap, name, before[name], after[name]) for name in before if name in after}
    if spent:
        context.measure("energy_kwh", sum(spent.values()) / KWH, unit="kWh", n=len(spent))
    else:
        context.gap("energy_kwh", "no device of this machine lets this process read an energy counter")


def joules(powercap: Path) -> Counter:
    """The counters of the processor packages (RAPL) and of the GPU in use (NVML) that this process may read."""
    found: Counter = {}
    for folder in sorted(powercap.glob("*-rapl:*")):
        if folder.name.count(":") == 1:
            try:
                found[folder.name] = 1e-6 * int((folder / "energy_uj").read_text())
            except OSError:
                continue
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        name = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        spent = gpu_joules(name, ctypes.CDLL)
        found |= {} if spent is None else {name: spent}
    return found


def gpu_joules(uuid: str, load: Callable[[str], Any]) -> float | None:
    """Joules that NVML has counted on a GPU since its driver was loaded; None where there is no NVML or no such counter.

    Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html, nvmlDeviceGetTotalEnergyConsumption.
    """
    try:
        nvml = load("libnvidia-ml.so.1")
    except OSError:
        return None
    handle, spent = ctypes.c_void_p(), ctypes.c_ulonglong()
    failed = (
        nvml.nvmlInit_v2()
        or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle))
        or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(spent))
    )
    return None if failed else spent.value / 1000


def _spent(powercap: Path, name: str, before: float, after: float) -> float:
    """Joules between two readings; a processor's counter begins again at 0 when it is full."""
    if after >= before:
        return after - before
    return after - before + 1e-6 * int((powercap / name / "max_energy_range_uj").read_text())


def _peak() -> float:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
