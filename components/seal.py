"""The answer of a person, sealed where it arrives: by the task that asked, before Airflow keeps it.

What Airflow keeps (XCom, task states) any user who may edit task instances can change. The seal is a signature by the key
`review`, which only Airflow's workers hold, over the answer with its release run and task. `approve` opens nothing else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from components.errors import DataRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

SEALER = "review"
"""Name of the key; not a step."""


def sealed(answer: Mapping[str, Any], signer: Any) -> dict[str, str]:
    """The answer as text, with its signature in hex.

    Args:
        answer: Must say `dag_run` and `task`.
        signer: Of securesystemslib, for the key `review`.
    """
    text = json.dumps(dict(answer), sort_keys=True)
    return {"answer": text, "signature": signer.sign(text.encode()).signature}


def opened(envelope: Mapping[str, Any], key: Any, *, dag_run: str, task: str) -> dict[str, Any]:
    """The answer in an envelope; nothing in, nothing out.

    Raises:
        DataRefused: The seal is not that of `review`, or the answer was given to another question.
    """
    from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError  # noqa: PLC0415
    from securesystemslib.signer import Signature  # noqa: PLC0415

    if not envelope:
        return {}
    text, signature = str(envelope.get("answer")), str(envelope.get("signature"))
    try:
        key.verify_signature(Signature(key.keyid, signature), text.encode())
        answer: dict[str, Any] = json.loads(text)
    except (UnverifiedSignatureError, VerificationError, ValueError):
        message = (
            f"The answer to `{task}` does not carry the seal of the task that asked for it. Clear `{task}`, and answer again."
        )
        raise DataRefused(message) from None
    if (answer.get("dag_run"), answer.get("task")) != (dag_run, task):
        message = (
            f"The answer was given to `{answer.get('task')}` of {answer.get('dag_run')}, not to `{task}` of {dag_run}. "
            f"Clear `{task}`, and answer again."
        )
        raise DataRefused(message)
    return answer
