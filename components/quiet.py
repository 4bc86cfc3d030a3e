"""Environment of every process that we start: no telemetry, no chatter, no surprise downloads. Standard library only."""

from __future__ import annotations

import os

QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "GOMP_SPINCOUNT": "20000",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    "SCARF_ANALYTICS": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Variable → value. A value that the user has set stays.

Threads that wait for work spin for about a millisecond, then sleep. At a tenth of that a tiny model trains half as fast on a
virtual machine, where waking a thread is slow; spinning on for ever, two trainings on two cores slow each other down tenfold.
What tensors free, up to 32 MB each, is kept for the next ones: given back to the system and asked for again at every
operation, it costs about a tenth of the time of a small batch."""

GARBAGE_AT = 100_000
"""Allocations between two collections in a process that mostly imports, or lays pages out. At Python's own 700 a fifth of the
import of Airflow is spent looking for garbage that isn't there."""


def settle() -> None:
    """Apply `QUIET` to this process, before the libraries that read it are imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
