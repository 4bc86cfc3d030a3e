"""The story of `document`: stage the evidence, have governance render it, keep the pack."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from components import packs

if TYPE_CHECKING:
    from components.context import Context
    from components.document.config import Settings

FIRST = "none: no version had been released before"


def run(context: Context[Settings]) -> None:
    """Publish the draft pack: what the approver sees, and the auditor will see with the decision added."""
    assert context.evidence is not None, "the catalog gives document the evidence"
    staging = context.scratch / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    (staging / "release.json").write_text(_release(context), encoding="utf-8")

    pack = context.output("pack")
    packs.render(
        context.evidence,
        pack,
        release=staging / "release.json",
        attachments={"evaluation-report.json": context.inputs["evaluation"] / "report.json"},
        timeout_seconds=context.config.timeout_seconds,
    )
    summary = json.loads((pack / "summary.json").read_text(encoding="utf-8"))
    context.fact("verdict", summary["verdict"])
    context.fact("labels", summary["labels"])
    context.fact("compute", summary["compute"])
    context.fact("gaps", {gap["name"]: gap["reason"] for gap in summary["gaps"]})
    context.measure("gaps", len(summary["gaps"]), unit="gaps")
    context.measure("coverage", summary["coverage"], unit="share of requirements")
    context.measure("files", sum(path.is_file() for path in pack.rglob("*")), unit="files")


def _release(context: Context[Settings]) -> str:
    """What the registry knows of this candidate."""
    external: dict[str, Any] = dict(context.external)
    release = {
        "pipeline_run": context.pipeline_run,
        "versions": dict(external.get("versions", {})),
        "previous": {"policy": external.get("previous") or FIRST},
        "reward_models": external.get("reward_models", []),
        "exports": external.get("exports", []),
    }
    return json.dumps(release, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
