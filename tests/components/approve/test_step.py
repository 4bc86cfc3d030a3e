from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from components.approval import summary_digest
from components.approve.config import Settings
from components.approve.step import run
from components.catalog import STEPS
from components.context import Context
from components.errors import DataRefused, GateFailed

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = {"verdict": "pass", "gates": [], "gaps": [{"name": "a", "reason": "b"}]}
ANSWER = {
    "decision": "approve",
    "by": "ada",
    "channel": "airflow",
    "reason": "Read the pack; the gates pass.",
    "answered_at": "2026-11-20T12:00:00+00:00",
    "shown_pack": "sha256:p",
    "shown_summary": summary_digest(SUMMARY),
    "triggered_by": "",
}
SECOND = ANSWER | {"by": "eve", "reason": "I read it too; I agree."}


def _context(
    tmp_path: Path, answer: dict[str, Any], *, verdict: str = "pass", started_by: str = "bo", **settings: Any
) -> Context[Settings]:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "report.json").write_text(json.dumps({"verdict": verdict}))
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "summary.json").write_text(json.dumps(SUMMARY))
    return Context(
        step=STEPS["approve"],
        config=Settings(**settings),
        seed=1,
        inputs={"evaluation": tmp_path / "evaluation", "pack": tmp_path / "pack"},
        input_digests={"evaluation": "sha256:e", "pack": "sha256:p"},
        scratch=tmp_path / "scratch",
        checkpoints=tmp_path / "checkpoints",
        pipeline_run="run-1",
        external={"answer": answer, "candidate": {"triggered_by": started_by}},
    )


def _record(context: Context[Settings]) -> dict[str, Any]:
    return json.loads((context.output("approval") / "approval.json").read_text())


def test_an_approval_is_bound_to_what_was_shown(tmp_path: Path) -> None:
    run(context := _context(tmp_path, ANSWER))

    record = _record(context)
    assert record == ANSWER | {
        "type": "plumbline.human-approval/v1",
        "answers": [ANSWER],
        "override": False,
        "verdict": "pass",
        "pipeline_run": "run-1",
        "candidate_triggered_by": "bo",
        "four_eyes": True,
        "shown": {"pack": "sha256:p", "evaluation": "sha256:e"},
    }
    assert context.refusal == ""


def test_a_rejection_is_recorded_and_then_refused(tmp_path: Path) -> None:
    run(context := _context(tmp_path, ANSWER | {"decision": "reject", "reason": "It flatters too much."}))

    assert _record(context)["decision"] == "reject"
    assert context.refusal == "ada rejected the candidate: It flatters too much. The champion stays as it is."


def test_no_answer_in_time_is_a_recorded_rejection(tmp_path: Path) -> None:
    silence = {"decision": "reject", "by": "nobody", "channel": "timeout", "reason": "Nobody answered in time."}

    run(context := _context(tmp_path, ANSWER | silence))

    assert _record(context)["channel"] == "timeout"
    assert "Nobody answered in time." in context.refusal


def test_nobody_approves_by_silence(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="nobody can approve by not answering"):
        run(_context(tmp_path, ANSWER | {"channel": "timeout"}))


def test_an_answer_with_holes_is_refused_with_every_hole(tmp_path: Path) -> None:
    with pytest.raises(DataRefused) as refusal:
        run(_context(tmp_path, {"decision": "yes", "reason": " ok ", "answered_at": "2026-11-20T12:00:00"}))

    assert str(refusal.value) == (
        "The answer can't be recorded: answered_at must be a time with time zone (RFC 3339), found '2026-11-20T12:00:00'; "
        "by is missing; channel must be one of airflow, terminal, unattended, timeout, found None; "
        "decision must be approve or reject, found 'yes'; reason must have at least 10 characters, found 2. Answer again."
    )


@pytest.mark.parametrize("verdict", ["fail", "undecided"])
def test_a_candidate_that_did_not_pass_is_not_approved(tmp_path: Path, verdict: str) -> None:
    with pytest.raises(GateFailed, match=f"verdict is '{verdict}', so the candidate can't be approved without"):
        run(_context(tmp_path, ANSWER, verdict=verdict))


def test_a_person_may_override_where_the_config_allows_it_and_it_shows(tmp_path: Path) -> None:
    run(context := _context(tmp_path, ANSWER, verdict="fail", allow_override=True))

    assert _record(context)["override"] is True


def test_nobody_overrides_unattended(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="can't be approved unattended"):
        run(_context(tmp_path, ANSWER | {"channel": "unattended"}, verdict="fail", allow_override=True, four_eyes=False))


@pytest.mark.parametrize(
    ("changed", "settings", "reason"),
    [
        ({"by": "bo"}, {}, "bo started the run and may not approve it (approve.four_eyes)"),
        ({"triggered_by": "ada"}, {}, "ada started the run and may not approve it (approve.four_eyes)"),
        ({"channel": "terminal"}, {}, "ada answered by terminal, where nobody is authenticated (approve.four_eyes)"),
        ({"by": "Anonymous"}, {}, "Anonymous answered by airflow, where nobody is authenticated (approve.four_eyes)"),
        ({}, {"approvers": ["eve", "flo"]}, "ada is not among approve.approvers (eve, flo)"),
        ({}, {"two_approvers": True}, "approve.two_approvers asks for two persons, ada answered"),
        (
            {"second": SECOND | {"by": "ada"}},
            {"two_approvers": True},
            "approve.two_approvers asks for two persons, ada answered",
        ),
        ({"second": SECOND | {"by": "bo"}}, {"two_approvers": True}, "bo started the run and may not approve it"),
        ({"shown_pack": "sha256:other"}, {}, "ada was shown the pack sha256:other, this one is sha256:p"),
        ({"shown_pack": ""}, {}, "ada was shown the pack (no digest), this one is sha256:p"),
        ({"shown_summary": "sha256:0"}, {"four_eyes": False}, "ada was shown another summary than that of the pack"),
    ],
)
def test_an_approval_that_breaks_a_rule_does_not_count(
    tmp_path: Path, changed: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    context = _context(tmp_path, ANSWER | changed, **settings)

    with pytest.raises(GateFailed) as refusal:
        run(context)

    assert reason in str(refusal.value)
    assert list(context.output("approval").iterdir()) == []


def test_two_persons_make_an_approval_where_two_are_asked_for(tmp_path: Path) -> None:
    run(context := _context(tmp_path, ANSWER | {"second": SECOND}, two_approvers=True))

    assert [answer["by"] for answer in _record(context)["answers"]] == ["ada", "eve"]


def test_the_second_person_can_reject(tmp_path: Path) -> None:
    run(context := _context(tmp_path, ANSWER | {"second": SECOND | {"decision": "reject"}}, two_approvers=True))

    assert _record(context)["decision"] == "reject"
    assert "eve rejected the candidate" in context.refusal


def test_one_person_alone_at_a_terminal_may_approve_where_four_eyes_is_off(tmp_path: Path) -> None:
    run(context := _context(tmp_path, ANSWER | {"by": "bo", "channel": "terminal", "shown_pack": ""}, four_eyes=False))

    assert _record(context)["four_eyes"] is False
