"""The story of `approve`: check the answer, bind it to what was shown, keep it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from components.approval import Rule, forbidden, malformed, rule, summary_digest
from components.errors import DataRefused, GateFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.approve.config import Settings
    from components.context import Context

TYPE = "plumbline.human-approval/v1"
NAMES = ("decision", "channel", "by", "answered_at", "shown_pack", "shown_summary")


def run(context: Context[Settings]) -> None:
    """Write the approval record; end as a failed gate when the answer is no."""
    asked = rule(context.config.model_dump())
    given = context.external.get("answer") or {}
    answers = [check(given, asked)]
    if given.get("second"):
        answers.append(check(given["second"], asked))
    report = json.loads((context.inputs["evaluation"] / "report.json").read_text(encoding="utf-8"))
    rejected = [answer for answer in answers if answer["decision"] == "reject"]
    override = not rejected and _is_override(context, report["verdict"], answers)
    started_by = str((context.external.get("candidate") or {}).get("triggered_by") or "")
    if not rejected:
        _allowed(context, answers, asked, started_by)
    record = {
        "type": TYPE,
        **(rejected or answers)[0],
        "answers": answers,
        "override": override,
        "verdict": report["verdict"],
        "pipeline_run": context.pipeline_run,
        "candidate_triggered_by": started_by,
        "four_eyes": asked.four_eyes,
        "shown": {name: context.input_digests[name] for name in ("pack", "evaluation")},
    }
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (context.output("approval") / "approval.json").write_text(text, encoding="utf-8")
    context.fact("approval", record)
    if rejected:
        context.refuse(f"{rejected[0]['by']} rejected the candidate: {rejected[0]['reason']} The champion stays as it is.")


def check(answer: Mapping[str, Any], asked: Rule) -> dict[str, str]:
    """The answer with exactly the fields a record needs.

    Raises:
        DataRefused: A field is missing or has another value than it may have; all problems are named.
    """
    problems = malformed(answer, asked)
    if problems:
        message = f"The answer can't be recorded: {'; '.join(problems)}. Answer again."
        raise DataRefused(message)
    return {name: str(answer.get(name) or "").strip() for name in NAMES} | {
        "reason": str(answer["reason"]).strip(),
        "triggered_by": str(answer.get("triggered_by") or ""),
    }


def _is_override(context: Context[Settings], verdict: str, answers: list[dict[str, str]]) -> bool:
    """Whether a person says yes where the gates did not.

    Raises:
        GateFailed: Nobody may, here.
    """
    if verdict == "pass":
        return False
    unattended = any(answer["channel"] == "unattended" for answer in answers)
    if not context.config.allow_override or unattended:
        message = (
            f"The gates' verdict is {verdict!r}, so the candidate can't be approved "
            f"{'unattended' if unattended else 'without approve.allow_override'}. "
            "Reject it, or let a named person override with a reason."
        )
        raise GateFailed(message)
    return True


def _allowed(context: Context[Settings], answers: list[dict[str, str]], asked: Rule, started_by: str) -> None:
    summary = summary_digest(json.loads((context.inputs["pack"] / "summary.json").read_text(encoding="utf-8")))
    problems = forbidden(answers, asked, pack=context.input_digests["pack"], summary=summary, triggered_by=started_by)
    if problems:
        message = (
            f"This approval does not count: {'; '.join(problems)}. Let somebody answer who may; the champion is untouched."
        )
        raise GateFailed(message)
