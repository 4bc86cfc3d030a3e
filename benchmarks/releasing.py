"""A whole release, made from the golden records in seconds, without training; and ways to tamper with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.catalog import ALIGN, RELEASE, STEPS, writer
from components.context import Context
from components.deploy import folder as deploying
from components.deploy.config import Settings
from components.provenance import file_digest, file_digests, functionary, write_link

if TYPE_CHECKING:
    import random

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "evidence" / "v1"
APPROVAL = {
    "decision": "approve",
    "by": "ada",
    "channel": "unattended",
    "answered_at": "2026-11-21T10:00:00+00:00",
    "reason": "The gates passed, and nothing else speaks against it.",
    "override": False,
    "verdict": "pass",
    "shown": {"pack": "sha256:" + "a" * 64, "evaluation": "sha256:" + "b" * 64},
}
DIALOGUE = {"messages": [{"role": "user", "content": "Hi"}]}
CONTENT: dict[str, dict[str, str | bytes]] = {
    "approval": {"approval.json": json.dumps(APPROVAL)},
    "evaluation": {"report.json": json.dumps({"verdict": "pass"}), "samples.jsonl": json.dumps(DIALOGUE) + "\n"},
    "pack": {"summary.json": "{}", "index.html": "<!DOCTYPE html><title>Draft</title>"},
    "base_model": {"config.json": "{}", "model.safetensors": bytes(range(256)) * 8},
    "policy_adapter": {"adapter_config.json": "{}", "adapter_model.safetensors": bytes(reversed(range(256))) * 8},
}


@dataclass
class Finished:
    """A pipeline run up to its approval."""

    evidence: Path
    """Folder with STEP.json and STEP.link."""
    artifacts: Path
    keys: Path


def finish(root: Path) -> Finished:
    """Artifacts of a few bytes, golden records, and real links signed with real keys."""
    made = Finished(root / "evidence", root / "artifacts", root / "keys")
    made.evidence.mkdir(parents=True)
    for step in (*ALIGN, RELEASE[0]):
        for name in step.writes:
            folder = made.artifacts / name
            folder.mkdir(parents=True)
            for file, content in CONTENT.get(name, {"content.txt": f"{name}, written by {step.name}\n"}).items():
                (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        (made.evidence / f"{step.name}.json").write_text(_record(step.name))
        files = {name: file_digests(made.artifacts / name) for name in (*step.reads, *step.writes)}
        write_link(
            made.evidence / f"{step.name}.link",
            step=step.name,
            signer=functionary(step.name, made.keys),
            materials={name: files[name] for name in step.reads if writer(name)},
            products={name: files[name] for name in step.writes},
            command=["python", "-m", f"components.{step.name}"],
            environment={"evidence": file_digest(made.evidence / f"{step.name}.json")},
        )
    return made


def _record(step: str) -> str:
    path = GOLDEN / f"{step}.json"
    if path.is_file():
        return path.read_text()
    record: dict[str, Any] = json.loads((GOLDEN / "evaluate.json").read_text())
    record |= {"step": step, "run": f"{step:x<32}", "measurements": {}, "gaps": {}, "inputs": {}, "outputs": {}}
    record["facts"] = {"approval": APPROVAL} if step == "approve" else {}
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def release(root: Path, finished: Finished, version: str, *, pdf: bool = False) -> Path:
    """A release, sealed as `deploy` seals it; where PLUMBLINE_RELEASES says, with the keys that PLUMBLINE_KEYS names."""
    context = Context(
        step=STEPS["deploy"],
        config=Settings(pdf=pdf),
        seed=0,
        inputs={name: finished.artifacts / name for name in STEPS["deploy"].reads},
        scratch=root / "scratch",
        checkpoints=root / "ck",
        pipeline_run="manual-2026-11-21T00-00-00",
        evidence=finished.evidence,
    )
    release = {
        "policy_version": version,
        "pipeline_run": context.pipeline_run,
        "versions": {"policy": version},
        "smoke_prompts": 4,
    }
    draft = deploying.write(context, release)
    manifest = deploying.seal(context, draft, release)
    made = draft.rename(draft.parent / f"policy-v{version}")
    deploying.register(made, release, manifest)
    return made


def mutate(folder: Path, dice: random.Random) -> str:
    """One random change of one random file; says which."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    kinds = sorted({path.suffix for path in files})
    kind = dice.choice(kinds)
    path = dice.choice([path for path in files if path.suffix == kind])
    how = dice.choice(("flip", "truncate", "swap", "delete", "add", "rename", "reorder", "append", "link"))
    content = bytearray(path.read_bytes())
    if how == "flip" and content:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
    elif how == "truncate" and content:
        path.write_bytes(content[: dice.randrange(len(content))])
    elif how == "swap":
        other = dice.choice([one for one in files if one.read_bytes() != content])
        mine, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(mine)
    elif how == "delete":
        path.unlink()
    elif how == "add":
        (path.parent / f"{path.name}.{dice.randrange(10**6)}").write_bytes(b"new")
    elif how == "rename":
        path.rename(path.with_name(f"x{path.name}"))
    elif how == "reorder" and len(content.splitlines()) > 1 and content.splitlines()[0] != content.splitlines()[-1]:
        lines = content.splitlines(keepends=True)
        path.write_bytes(b"".join([lines[-1], *lines[1:-1], lines[0]]))
    elif how == "link":
        target = path.with_name(f"{path.name}.target")
        path.rename(target)
        path.symlink_to(target.name)
    else:
        path.write_bytes(bytes(content) + b" ")
        how = "append"
    return f"{how} {path.relative_to(folder)}"
