"""An MLflow that is away: how long requests wait for it, and what a step says when it does not come back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from components.errors import TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "9", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
"""Waits of 2, 4, 8 ... 120 s between tries: six minutes without a server cost a step time, and nothing else."""


@contextmanager
def answering(uri: str, *, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns MLflow's ways of being away, which are among `errors`, into `TryAgain`."""
    try:
        yield
    except errors as error:
        text = str(error)
        if isinstance(error, OSError) and not isinstance(error, ConnectionError) and "HTTPConnection" not in text:
            raise
        if "disk is full" in text:
            message = f"The disk that holds {uri} is full. Free some space and run the step again; nothing was lost."
            raise TryAgain(message) from None
        message = (
            f"MLflow at {uri} does not answer: {text.splitlines()[0][:200] if text else type(error).__name__}. "
            "Check that it runs and that MLFLOW_TRACKING_URI is right, then run the step again; nothing was lost."
        )
        raise TryAgain(message) from None
