"""The folder of releases: a signed manifest for each, and a register that only grows.

    releases/
    ├── register.jsonl     one signed line a release; each names the digest of the line before
    └── policy-vN/         base_model, policy_adapter, approval, draft (what the approver saw), pack (sealed), provenance,
                           release.json, manifest.json with every file's sha256, manifest.dsse.json that signs it

What it does not cover: a register whose last lines were taken away together with their folders. Keep the digest of the
last line elsewhere, or the register where nothing can be removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from components import owner
from components.provenance import file_digest

if TYPE_CHECKING:
    from pathlib import Path

    from components.provenance import Functionary

REGISTER = "register.jsonl"
MANIFEST, SIGNATURE = "manifest.json", "manifest.dsse.json"
MANIFEST_TYPE, ENTRY_TYPE = "plumbline.release-manifest/v1", "plumbline.release/v1"
FIRST = "0" * 64
"""What the first line names as the digest of the line before."""


def text(value: Any) -> str:
    """A record as this folder keeps it."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def sign_manifest(folder: Path, *, sealed_at: str, signer: Functionary) -> str:
    """Write and sign the manifest of everything in a folder; returns the manifest's sha256."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent / path.name != folder / MANIFEST)
    names = [path.relative_to(folder).as_posix() for path in paths]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = dict(zip(names, pool.map(file_digest, paths), strict=True))
    manifest = text({"type": MANIFEST_TYPE, "files": files, "sealed_at": sealed_at, "key": signer.origin})
    (folder / MANIFEST).write_text(manifest, encoding="utf-8")
    sign_file(folder / MANIFEST, folder / SIGNATURE, signer)
    return hashlib.sha256(manifest.encode()).hexdigest()


def sign_file(path: Path, signature: Path, signer: Functionary) -> None:
    """Write a DSSE envelope over a JSON file's bytes."""
    signature.write_text(owner.envelope(path.read_bytes(), owner.JSON, signer), encoding="utf-8")


def enter(root: Path, entry: dict[str, Any], signer: Functionary) -> None:
    """Add a line to the register."""
    path = root / REGISTER
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        before = hashlib.sha256(lines[-1]).hexdigest() if lines else FIRST
        whole = {"type": ENTRY_TYPE, "number": len(lines) + 1, "previous": before, **entry}
        file.write(owner.envelope(text(whole).encode(), owner.JSON, signer).encode())
        file.flush()
        os.fsync(file.fileno())
