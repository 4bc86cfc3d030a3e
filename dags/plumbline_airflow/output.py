"""What a step says to its runtime, the same from a process, a container and a pod: lines on stdout, and an exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from components.errors import GATE_FAILED, REFUSED
from plumbline_airflow import events, job

if TYPE_CHECKING:
    from collections.abc import Mapping

ERROR_CHARACTERS = 4_000
SHOWN = ("progress", "reused", "pack", "release")


def heed(operator: Any, line: str, context: Mapping[str, Any]) -> None:
    """One line of a step's output: logged, and acted on where it is for the runtime, see `components/entrypoint.py`."""
    operator.log.info("%s", line)
    word, _, rest = line.partition(" ")
    if word == "mlflow-run":
        context["ti"].xcom_push(key="mlflow_run", value=rest)
    elif word == "reused":
        context["ti"].xcom_push(key="mlflow_run", value=f"0 {rest.split()[-1]}")
    if word in SHOWN:
        events.tell(word, operator.step, rest)
    if word == "candidate":
        found = json.loads(rest)
        events.tell(word, operator.step, found["pack"])
        offer(operator, found, context)


def offer(operator: Any, candidate: Mapping[str, Any], context: Mapping[str, Any]) -> None:
    """Attach what the approver is to be shown to the event of the step's asset."""
    for asset in operator.outlets:
        context["outlet_events"][asset].extra = {"pipeline_run": job.pipeline_run(context), **candidate}


def judge(step: str, code: int, complaint: str) -> None:
    """End the task as the step's exit code says.

    Raises:
        AirflowFailException: The step refused its input, or a gate or a person said no. Not retried.
        AirflowException: Anything else; retried with backoff.
    """
    text = complaint[-ERROR_CHARACTERS:].strip()
    events.tell("end", step, str(code), text if code else "")
    if code in {REFUSED, GATE_FAILED}:
        raise AirflowFailException(text or f"{step} ended with exit code {code}.")
    if code:
        message = f"{step} ended with exit code {code}. {text}"
        raise AirflowException(message)
