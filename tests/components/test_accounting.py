"""Energy counters are read, begin again, or are missing; and a step that trains says which."""

from __future__ import annotations

import ctypes

import pytest

from components import accounting
from components.catalog import STEPS
from components.context import Context


def _context(folder, step="reward"):
    return Context(step=STEPS[step], config=None, seed=1, inputs={}, scratch=folder, checkpoints=folder)


def _package(folder, name, spent, full=1_000_000_000):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{spent}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{full}\n")


def test_energy_is_the_sum_over_packages_of_what_their_counters_gained(tmp_path):
    """36 J and, across the end of the counter at 1,000 J, 10 + 26 J: 72 J are 20 µWh. A part of a package is not added."""
    _package(tmp_path, "intel-rapl:0", 5_000_000)
    _package(tmp_path, "intel-rapl:1", 990_000_000)
    _package(tmp_path, "intel-rapl:0:0", 1)
    context = _context(tmp_path)

    with accounting.metered(context, powercap=tmp_path):
        _package(tmp_path, "intel-rapl:0", 41_000_000)
        _package(tmp_path, "intel-rapl:1", 26_000_000)

    assert context.measurements["energy_kwh"].value == pytest.approx(20e-6)
    assert context.measurements["energy_kwh"].n == 2
    assert context.measurements["peak_memory_bytes"].value > 1e6


def test_without_a_counter_there_is_a_stated_gap(tmp_path):
    context = _context(tmp_path)

    with accounting.metered(context, powercap=tmp_path / "nowhere"):
        pass

    assert context.gaps == {"energy_kwh": "no device of this machine lets this process read an energy counter"}


def test_a_step_that_trains_nothing_is_not_metered(tmp_path):
    context = _context(tmp_path, "validate")

    with accounting.metered(context, powercap=tmp_path):
        pass

    assert not context.measurements
    assert not context.gaps


class _Nvml:
    """NVML, as far as it is called: one GPU that has used 12,345 mJ."""

    def nvmlInit_v2(self):  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):  # noqa: N802
        return 0 if uuid == b"GPU-7" else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, spent):  # noqa: N802
        ctypes.cast(spent, ctypes.POINTER(ctypes.c_ulonglong)).contents.value = 12_345
        return 0


def test_a_gpu_counts_in_millijoules():
    assert accounting.gpu_joules("GPU-7", lambda _: _Nvml()) == 12.345
    assert accounting.gpu_joules("GPU-8", lambda _: _Nvml()) is None


def test_without_nvml_there_is_no_count():
    def load(_):
        raise OSError

    assert accounting.gpu_joules("GPU-7", load) is None
