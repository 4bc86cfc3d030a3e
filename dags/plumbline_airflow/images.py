"""Which image runs a step."""

from __future__ import annotations

import os

from airflow.sdk.exceptions import AirflowException


def image(kind: str) -> str:
    """The image `pipeline-KIND`, as PLUMBLINE_IMAGE_DATA or PLUMBLINE_IMAGE_TRAIN names it.

    Raises:
        AirflowException: It is not named.
    """
    variable = f"PLUMBLINE_IMAGE_{kind.upper()}"
    named = os.environ.get(variable, "")
    if not named:
        message = (
            f"{variable} must name the image pipeline-{kind}, best by digest. infra/images/build.sh makes it and prints it."
        )
        raise AirflowException(message)
    return named
