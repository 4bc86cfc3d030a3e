"""Environment of every process that we start: no telemetry, no chatter, no surprise downloads. Standard library only."""

from __future__ import annotations

import os

QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "GOMP_SPINCOUNT": "2000",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    "SCARF_ANALYTICS": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Variable → value. A value that the user has set stays. Threads that wait for work spin for about a tenth of a millisecond,
then sleep: at once asleep, a tiny model trains half as fast on two cores; spinning on, two trainings at once slow each
other down tenfold."""

GARBAGE_AT = 100_000
"""Allocations between two collections in a process that mostly imports. At Python's own 700 a fifth of the import of Airflow is
spent looking for garbage that isn't there."""


def settle() -> None:
    """Apply `QUIET` to this process, before the libraries that read it are imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
