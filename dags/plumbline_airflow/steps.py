"""`step("ppo")`: a catalog entry as a task, on the runtime that PLUMBLINE_RUNTIME names."""

from __future__ import annotations

import importlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from components.catalog import STEPS

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

RUNTIMES = ("process", "docker", "kubernetes")
"""Each is a module `runtime_NAME.py`, imported only when chosen."""
GPU_POOL = "gpu"


def step(name: str, **options: Any) -> BaseOperator:
    """A task that runs the step `name`.

    Args:
        name: Of the step in `components/catalog.py`; also the task's id.
        **options: Passed to the operator, e.g. `outlets`.

    Raises:
        AirflowException: PLUMBLINE_RUNTIME names no runtime.
    """
    entry = STEPS[name]
    runtime = os.environ.get("PLUMBLINE_RUNTIME", "process")
    if runtime not in RUNTIMES:
        message = f"PLUMBLINE_RUNTIME is {runtime!r}; it must be one of {', '.join(RUNTIMES)}."
        raise AirflowException(message)
    operator = importlib.import_module(f"plumbline_airflow.runtime_{runtime}").StepOperator
    made: BaseOperator = operator(
        step=name,
        task_id=name,
        execution_timeout=timedelta(hours=entry.timeout_hours),
        retries=2,
        retry_delay=timedelta(seconds=5),
        retry_exponential_backoff=True,
        max_retry_delay=timedelta(minutes=10),
        pool=GPU_POOL if entry.gpu else "default_pool",
        **options,
    )
    return made
