from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from components.errors import DataRefused
from components.provenance import functionary
from components.seal import opened, sealed

if TYPE_CHECKING:
    from pathlib import Path

ANSWER = {"decision": "approve", "by": "ada", "dag_run": "r-1", "task": "review"}


@pytest.fixture
def signer(tmp_path: Path) -> Any:
    return functionary("review", tmp_path).signer


def _open(envelope: dict[str, str], signer: Any, *, dag_run: str = "r-1", task: str = "review") -> dict[str, Any]:
    return opened(envelope, signer.public_key, dag_run=dag_run, task=task)


def test_what_was_sealed_is_what_comes_out(signer: Any) -> None:
    assert _open(sealed(ANSWER, signer), signer) == ANSWER


def test_no_answer_is_no_answer(signer: Any) -> None:
    assert _open({}, signer) == {}


def test_an_edited_answer_is_refused(signer: Any) -> None:
    envelope = sealed(ANSWER, signer)
    envelope["answer"] = envelope["answer"].replace("ada", "eve")

    with pytest.raises(DataRefused, match="does not carry the seal of the task that asked for it"):
        _open(envelope, signer)


@pytest.mark.parametrize("envelope", [{"answer": json.dumps(ANSWER)}, {"answer": json.dumps(ANSWER), "signature": "00"}])
def test_an_answer_without_a_seal_is_refused(signer: Any, envelope: dict[str, str]) -> None:
    with pytest.raises(DataRefused, match="does not carry the seal"):
        _open(envelope, signer)


def test_another_keys_seal_is_refused(signer: Any, tmp_path: Path) -> None:
    other = functionary("ppo", tmp_path / "other").signer

    with pytest.raises(DataRefused, match="does not carry the seal"):
        _open(sealed(ANSWER, other), signer)


@pytest.mark.parametrize(("dag_run", "task"), [("r-2", "review"), ("r-1", "second_review")])
def test_an_answer_to_another_question_is_refused(signer: Any, dag_run: str, task: str) -> None:
    """A copy of an old approval, or one person's answer used twice."""
    with pytest.raises(DataRefused, match="The answer was given to `review` of r-1, not to"):
        _open(sealed(ANSWER, signer), signer, dag_run=dag_run, task=task)
