"""The folder of a release: weights, what was shown, the sealed pack, and the proof, all of it signed."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import owner, packs, releases

if TYPE_CHECKING:
    from components.context import Context
    from components.deploy.config import Settings

COPIED = {"base_model": "base_model", "policy_adapter": "policy_adapter", "approval": "approval", "draft": "pack"}
"""Folder of the release → the artifact that is copied there."""
KEPT_DAYS = 3653
"""How long the layout holds: ten years, as documents must be kept."""


def root() -> Path:
    """Folder of all releases."""
    return Path(os.environ.get("PLUMBLINE_RELEASES", "releases")).absolute()


def keys() -> Path:
    """Folder of the keys, the owner's among them."""
    return Path(os.environ.get("PLUMBLINE_KEYS", ".plumbline/keys")).absolute()


def write(context: Context[Settings], release: dict[str, Any]) -> Path:
    """Copy what is released, under a name that nobody reads."""
    draft = root() / f".draft-{context.step.name}-{release['policy_version']}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, artifact in COPIED.items():
        shutil.copytree(context.inputs[artifact], draft / name)
    return draft


def seal(context: Context[Settings], draft: Path, release: dict[str, Any]) -> str:
    """Render the pack again with decision and deployment, sign everything; returns the manifest's sha256."""
    assert context.evidence is not None, "the catalog gives deploy the evidence"
    now = datetime.now(UTC).replace(microsecond=0)
    signer = owner.owner(keys())
    release["deployed_at"] = now.isoformat()
    (draft / "release.json").write_text(releases.text(release), encoding="utf-8")
    packs.render(
        context.evidence,
        draft / "pack",
        release=draft / "release.json",
        attachments={"evaluation-report.json": context.inputs["evaluation"] / "report.json"},
        timeout_seconds=context.config.seal_seconds,
        pdf=context.config.pdf,
    )
    releases.sign_file(draft / "pack" / releases.MANIFEST, draft / "pack" / releases.SIGNATURE, signer)
    expires = (now + timedelta(days=KEPT_DAYS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    links = {path.stem: path for path in context.evidence.glob("*.link")}
    proof = draft / "provenance"
    owner.write_provenance(proof, links=links, keys=keys(), expires=expires)
    for name in (name for name in ("base_model", "policy_adapter", "model") if (draft / name).is_dir()):
        owner.sign_model(draft / name, proof / "models" / f"{name}.sig", keys())
    for statement in sorted((draft / "pack" / "attestations").glob("*.json")):
        target = proof / "attestations" / f"{statement.stem}.dsse.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(owner.envelope(statement.read_bytes(), owner.IN_TOTO, signer), encoding="utf-8")
    return releases.sign_manifest(draft, sealed_at=now.isoformat(), signer=signer)


def register(folder: Path, release: dict[str, Any], manifest: str) -> None:
    """Add the release to the register."""
    entry = {
        "folder": folder.name,
        "manifest": manifest,
        "policy_version": release["policy_version"],
        "pipeline_run": release["pipeline_run"],
        "released_at": release["deployed_at"],
    }
    releases.enter(folder.parent, entry, owner.owner(keys()))
