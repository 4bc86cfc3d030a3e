"""The tasks at which persons decide.

Airflow's HITLOperator and not its ApprovalOperator: a rejection is an answer like an approval, so `approve` records it too
instead of being skipped. What Airflow says about these tasks proves nothing; `deploy` reads the signed record alone.

The answer is sealed when Airflow hands it over (`execute_complete`), before it lies where users can edit it.
The form carries the digest of the pack, and of the summary as this task displayed it, through the person's answer to
`approve`. So a summary that somebody forged, by an asset event of his own, does not lead to an approval.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

from components.provenance import functionary
from components.seal import SEALER, sealed
from plumbline_airflow import job
from plumbline_airflow.links import UI

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS = ("Approve", "Reject")
REASON_CHARACTERS = 2_000
HOURS = 168.0
"""How long an answer may take, unless PLUMBLINE_REVIEW_HOURS says otherwise. Then the candidate is rejected."""


class ReviewOperator(HITLOperator):
    """Shows verdict, gates and gaps of the candidate, and waits for an answer with a reason."""

    def __init__(self, *, second: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.second = second

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Write the request, and wait; a second review is only asked for where the first said yes and the rule wants two."""
        candidate = job.candidate(context)
        rule = candidate.get("rule") or {}
        if self.second and not (job.two_approvers(context) and _said_yes(context)):
            return None
        run = job.pipeline_run(context)
        summary = candidate.get("summary") or {}
        self.subject = f"Release the candidate of {run}?"
        self.body = shown(candidate)
        self.params["pack"] = candidate.get("pack") or ""
        self.params["summary"] = digest(summary) if summary else ""
        self.assigned_users = [{"id": name, "name": name} for name in rule.get("approvers") or []] or None
        return super().execute(context)  # type: ignore[arg-type]  # Airflow's own Context is a TypedDict

    def execute_complete(self, context: Mapping[str, Any], event: dict[str, Any]) -> Any:
        """Seal what the person answered."""
        given = super().execute_complete(context, event)  # type: ignore[arg-type]
        signer = functionary(SEALER, Path(os.environ.get("PLUMBLINE_KEYS", ".plumbline/keys"))).signer
        place = {"dag_run": context["dag_run"].run_id, "task": self.task_id}
        answer = answered(event) | place | {"triggered_by": job.triggered_by(context["dag_run"]) or ""}
        context["ti"].xcom_push(key="answer", value=sealed(answer, signer))
        return given


def answered(event: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as `approve` records it. Nobody's answer is a rejection because the time is over."""
    said = event.get("params_input") or {}
    found = {
        "decision": event["chosen_options"][0].lower(),
        "reason": said.get("reason") or "",
        "shown_pack": said.get("pack") or "",
        "shown_summary": said.get("summary") or "",
        "answered_at": event["responded_at"].isoformat(),
    }
    person = event.get("responded_by_user")
    if not person:
        return found | {"by": "nobody", "channel": "timeout", "reason": "Nobody answered in time."}
    channel, _, name = str(person["id"]).rpartition(":")
    return found | {"by": name, "channel": channel if channel in {"terminal", "unattended"} else "airflow"}


def _said_yes(context: Mapping[str, Any]) -> bool:
    """Whether the first person approved; asking a second one after a rejection would be idle."""
    first = context["ti"].xcom_pull(task_ids="review", key="answer") or {}
    return bool(json.loads(first.get("answer") or "{}").get("decision") == "approve")


def review(task_id: str, *, second: bool = False) -> ReviewOperator:
    """The task that waits for a person."""
    hours = float(os.environ.get("PLUMBLINE_REVIEW_HOURS", HOURS))
    return ReviewOperator(
        task_id=task_id,
        second=second,
        subject="Release?",
        options=list(OPTIONS),
        defaults="Reject",
        response_timeout=timedelta(hours=hours),
        params={
            "reason": _field("Reason", "Why. It becomes part of the signed approval record.", REASON_CHARACTERS),
            "pack": _field("Pack", "Digest of the pack that you read. Filled in where the candidate was announced.", 80),
            "summary": _field("Summary", "Digest of the summary above; leave it as it is.", 80),
        },
    )


def _field(title: str, text: str, characters: int) -> Param:
    return Param(None, type=["null", "string"], maxLength=characters, title=title, description=text)


def digest(summary: Mapping[str, Any]) -> str:
    """`sha256:HEX` of a summary, whatever the order of its fields; `components.approve` computes the same."""
    return "sha256:" + hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def shown(candidate: Mapping[str, Any]) -> str:
    """The pack's summary as Markdown, every text from data escaped."""
    summary = candidate.get("summary")
    if not summary:
        return (
            "This run was started by hand, so nothing is shown here. Open the draft pack of the pipeline run in MLflow, read "
            "it, and give its digest (`manifest.json` of the run of `document`) with your answer."
        )
    gates = [f"| {_plain(gate['name'])} | {_plain(gate['verdict'])} | {_plain(gate['text'])} |" for gate in summary["gates"]]
    gaps = [f"- **{_plain(gap['name'])}**: {_plain(gap['reason'])}" for gap in summary["gaps"]]
    return "\n".join(
        [
            f"**Verdict: {_plain(summary['verdict'])}**, policy version {_plain(summary['policy_version'])}",
            "",
            f"[Draft pack]({_address(candidate)}), digest `{_plain(candidate.get('pack'))}`",
            "",
            "| gate | verdict | |",
            "| --- | --- | --- |",
            *gates,
            "",
            f"**{len(gaps)} gaps**",
            "",
            *gaps,
        ]
    )


def _address(candidate: Mapping[str, Any]) -> str:
    """Where MLflow's UI shows the pack."""
    ui = os.environ.get("PLUMBLINE_MLFLOW_UI", UI)
    experiment, _, run = str(candidate.get("mlflow_run") or "").partition(" ")
    if not (experiment.isalnum() and run.isalnum()):
        return f"{ui}/#/experiments"
    return f"{ui}/#/experiments/{experiment}/runs/{run}/artifacts/outputs/pack/index.html"


def _plain(text: Any) -> str:
    """Markdown and HTML in a text lose their meaning, and line breaks can't open a new row."""
    flat = " ".join(str(text).split())
    for sign in "\\`*_{}[]<>()#|!":
        flat = flat.replace(sign, f"\\{sign}")
    return flat
