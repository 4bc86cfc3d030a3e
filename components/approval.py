"""When an approval counts: the rule that `approve` applies before it signs, and `deploy` again before it releases.

An answer has `decision`, `by`, `channel`, `reason`, `answered_at` (RFC 3339), `shown_pack` and `shown_summary` (digests
that the person confirmed) and `triggered_by` (who started the release run).
What it does not cover: whether the person read anything.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHANNELS = ("airflow", "terminal", "unattended", "timeout")
DECISIONS = ("approve", "reject")
NOBODY = ("", "anonymous", "nobody")


@dataclass(frozen=True)
class Rule:
    """Who may approve, as the logged config says."""

    reason_chars: int
    four_eyes: bool
    two_approvers: bool
    approvers: tuple[str, ...]


def rule(settings: Mapping[str, Any]) -> Rule:
    """The rule in the settings of `approve`."""
    return Rule(
        reason_chars=int(settings["reason_chars"]),
        four_eyes=bool(settings["four_eyes"]),
        two_approvers=bool(settings["two_approvers"]),
        approvers=tuple(settings["approvers"]),
    )


def malformed(answer: Mapping[str, Any], rule: Rule) -> list[str]:
    """What is missing in an answer or has no meaning, sorted."""
    problems = []
    if answer.get("decision") not in DECISIONS:
        problems.append(f"decision must be approve or reject, found {answer.get('decision')!r}")
    if answer.get("channel") not in CHANNELS:
        problems.append(f"channel must be one of {', '.join(CHANNELS)}, found {answer.get('channel')!r}")
    if answer.get("channel") == "timeout" and answer.get("decision") == "approve":
        problems.append("nobody can approve by not answering")
    problems += [f"{name} is missing" for name in ("by", "answered_at") if not str(answer.get(name) or "").strip()]
    if answer.get("answered_at") and not _is_time(str(answer["answered_at"])):
        problems.append(f"answered_at must be a time with time zone (RFC 3339), found {answer['answered_at']!r}")
    reason = str(answer.get("reason") or "").strip()
    if len(reason) < rule.reason_chars:
        problems.append(f"reason must have at least {rule.reason_chars} characters, found {len(reason)}")
    return sorted(problems)


def forbidden(answers: Sequence[Mapping[str, Any]], rule: Rule, *, pack: str, summary: str, triggered_by: str) -> list[str]:
    """Why these answers, well-formed and in favour, don't make an approval, sorted; empty where they do.

    Args:
        answers: One, or two where the rule asks for two.
        rule: Who may approve.
        pack: Digest of the pack that is to go out.
        summary: Digest of its summary, see `summary_digest`.
        triggered_by: Who started the pipeline run of the candidate; empty where a schedule or an event did.
    """
    problems = []
    for answer in answers:
        who = str(answer["by"])
        problems += _not_shown(answer, rule, pack=pack, summary=summary)
        if rule.approvers and who not in rule.approvers:
            problems.append(f"{who} is not among approve.approvers ({', '.join(rule.approvers)})")
        if rule.four_eyes:
            problems += _four_eyes(answer, triggered_by)
    if rule.two_approvers:
        names = {str(answer["by"]) for answer in answers}
        if len(names) < 2:
            problems.append(f"approve.two_approvers asks for two persons, {' and '.join(sorted(names))} answered")
    return sorted(problems)


def _not_shown(answer: Mapping[str, Any], rule: Rule, *, pack: str, summary: str) -> list[str]:
    """What was shown must be what goes out. Whoever releases his own run, without four eyes, may leave the digest out."""
    who = str(answer["by"])
    shown = str(answer.get("shown_pack") or "")
    problems = []
    if shown != pack and (shown or rule.four_eyes):
        problems.append(f"{who} was shown the pack {shown or '(no digest)'}, this one is {pack}")
    if answer.get("shown_summary") and answer["shown_summary"] != summary:
        problems.append(f"{who} was shown another summary than that of the pack")
    return problems


def summary_digest(summary: Mapping[str, Any]) -> str:
    """`sha256:HEX` of a pack's summary, whatever the order of its fields."""
    return "sha256:" + hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def _four_eyes(answer: Mapping[str, Any], triggered_by: str) -> list[str]:
    who = str(answer["by"])
    starters = {name for name in (triggered_by, str(answer.get("triggered_by") or "")) if name}
    problems = []
    if who in starters:
        problems.append(f"{who} started the run and may not approve it (approve.four_eyes)")
    if answer["channel"] != "airflow" or who.lower() in NOBODY:
        problems.append(f"{who or 'nobody'} answered by {answer['channel']}, where nobody is authenticated (approve.four_eyes)")
    return problems


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
