"""The story of `deploy`: check the approval, write the folder, try it, switch, or go back."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from components import releases
from components.approval import forbidden, rule, summary_digest
from components.deploy import folder, serving, smoke
from components.errors import GateFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from components.context import Context, Registry
    from components.deploy.config import Settings

MODEL = "policy"
FIRST = "none: no version had been released before"


def run(context: Context[Settings]) -> None:
    """Make the approved candidate the champion."""
    approval = _approval(context)
    assert context.registry is not None, "the catalog gives deploy the registry"
    version = context.registry.version_of(MODEL)
    external = dict(context.external)
    release = {
        "policy_version": version,
        "pipeline_run": context.pipeline_run,
        "versions": dict(external.get("versions", {})),
        "previous": {"policy": external.get("previous") or FIRST},
        "reward_models": external.get("reward_models", []),
        "exports": external.get("exports", []),
        "approval": approval,
        "artifacts": dict(sorted(context.input_digests.items())),
        "smoke_prompts": context.config.smoke_prompts,
    }
    draft = folder.write(context, release)
    try:
        answers = _try(context, draft)
        release["smoke_prompts"] = len(answers)
        manifest = folder.seal(context, draft, release)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    served = _switch(
        context.registry,
        version,
        draft,
        seconds=context.config.serving_seconds,
        enter=lambda made: folder.register(made, release, manifest),
    )

    out = context.output("release")
    (out / "release.json").write_text(releases.text(release), encoding="utf-8")
    released = folder.root() / f"{MODEL}-v{version}"
    shutil.copytree(released / "pack", out / "pack", dirs_exist_ok=True)
    shutil.copytree(released / "provenance", out / "provenance", dirs_exist_ok=True)
    context.fact("manifest", manifest)
    context.fact("release", release)
    context.fact("smoke", answers)
    if served:
        context.fact("served", served)
    else:
        context.gap("served", "no gateway is named (PLUMBLINE_GATEWAY), so nobody was asked to serve the release")
    context.measure("smoke_prompts", len(answers), unit="prompts")


def _approval(context: Context[Settings]) -> dict[str, Any]:
    """The approval record, if it allows exactly this candidate to go out.

    Raises:
        GateFailed: It does not; the message says why.
    """
    record: dict[str, Any] = json.loads((context.inputs["approval"] / "approval.json").read_text(encoding="utf-8"))
    report = json.loads((context.inputs["evaluation"] / "report.json").read_text(encoding="utf-8"))
    if record["decision"] != "approve":
        message = f"{record['by']} did not approve this candidate ({record['decision']}). Only an approved one is deployed."
        raise GateFailed(message)
    for name, shown in record["shown"].items():
        if shown != context.input_digests[name]:
            message = (
                f"The approval was given for the {name} {shown}, this one is {context.input_digests[name]}. "
                "Let the approver see what is to be deployed, and answer again."
            )
            raise GateFailed(message)
    who = context.external.get("candidate") or {}
    problems = forbidden(
        record["answers"],
        rule(context.external["rule"]),
        pack=context.input_digests["pack"],
        summary=summary_digest(json.loads((context.inputs["pack"] / "summary.json").read_text(encoding="utf-8"))),
        triggered_by=str(who.get("triggered_by") or ""),
    )
    if problems:
        message = f"The approval does not count: {'; '.join(problems)}. Nothing was deployed."
        raise GateFailed(message)
    if report["verdict"] != "pass" and not record["override"]:
        message = f"The gates' verdict is {report['verdict']!r} and the approval is not an override. Nothing was deployed."
        raise GateFailed(message)
    return record


def _try(context: Context[Settings], draft: Path) -> list[dict[str, Any]]:
    settings = context.config
    dialogues = smoke.prompts(context.inputs["evaluation"] / "samples.jsonl", settings.smoke_prompts)
    (draft / "canaries.json").write_text(releases.text(dialogues), encoding="utf-8")
    smoke.merge(draft)
    answers = smoke.answer(draft, dialogues, max_tokens=settings.smoke_tokens)
    return [{"messages": asked, "answer": given} for asked, given in zip(dialogues, answers, strict=True)]


def _switch(registry: Registry, version: str, draft: Path, *, seconds: float, enter: Callable[[Path], None]) -> dict[str, Any]:
    """Name the folder, move the aliases, have it served, register it; put everything back if that breaks halfway."""
    champion = registry.resolve(MODEL, "champion")
    previous = registry.resolve(MODEL, "previous")
    root, named = draft.parent, draft.parent / f"{MODEL}-v{version}"
    aside, served_before = root / f".aside-{named.name}", serving.named(root)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        if named.exists():
            named.rename(aside)
        draft.rename(named)
        if champion and champion.version != version:
            registry.move(MODEL, "previous", champion.version)
        registry.move(MODEL, "champion", version)
        serving.name(root, named.name)
        served = serving.wait_until_served(named.name, seconds=seconds)
        enter(named)
    except BaseException:
        serving.name(root, served_before)
        _point(registry, "champion", champion.version if champion else "")
        _point(registry, "previous", previous.version if previous else "")
        shutil.rmtree(named, ignore_errors=True)
        if aside.exists():
            aside.rename(named)
        raise
    registry.remove(MODEL, "candidate")
    shutil.rmtree(aside, ignore_errors=True)
    return served


def _point(registry: Registry, alias: str, version: str) -> None:
    """The alias as it was."""
    if version:
        registry.move(MODEL, alias, version)
    else:
        registry.remove(MODEL, alias)
