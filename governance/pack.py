"""A pack on disk: what is in it, written so that any change shows."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST, SIGNATURE = "manifest.json", "manifest.dsse.json"
TYPE = "plumbline.pack/v1"
LINK = "a link"
"""Stands for the digest of a symbolic link, which is never followed."""


def seal(folder: Path) -> None:
    """Write the manifest: sha256 of every other file in the pack."""
    text = json.dumps({"type": TYPE, "files": digests(folder)}, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def verify(folder: Path) -> list[str]:
    """What changed since the pack was sealed, one sentence each; nothing where it is as it was.

    What it does not cover: a manifest that was rewritten together with the files. The signature of a released pack does.

    Raises:
        ArtifactRefused: The folder is not a pack, or its manifest can't be read.
    """
    return compare(manifest(folder, TYPE)["files"], digests(folder))


def compare(sealed: Mapping[str, str], found: Mapping[str, str], since: str = "the pack was sealed") -> list[str]:
    """One sentence for each file that differs, with where its content went or came from."""
    at: dict[str, str] = {digest: name for name, digest in sorted(found.items(), reverse=True)}
    was: dict[str, str] = {digest: name for name, digest in sorted(sealed.items(), reverse=True)}
    problems = []
    for name in sorted(sealed.keys() - found.keys()):
        moved = at.get(sealed[name])
        problems.append(f"{name} is missing{f'; its content lies in {moved} now' if moved else ''}.")
    for name in sorted(found.keys() - sealed.keys()):
        source = was.get(found[name])
        problems.append(f"{name} was added after {since}{f'; it has the content of {source}' if source else ''}.")
    for name in sorted(sealed.keys() & found.keys()):
        if found[name] != sealed[name]:
            source = was.get(found[name])
            hint = f" It has the content of {source}." if source else ""
            problems.append(
                f"{name} was changed after {since}: it has sha256 {found[name]}, the manifest says {sealed[name]}.{hint}"
            )
    return problems


def manifest(folder: Path, kind: str) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        ArtifactRefused: There is none of this kind, or it can't be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        message = f"{folder} has no {MANIFEST}. Give the folder of a pack, of a release or of all releases."
        raise ArtifactRefused(message)
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): str(digest) for name, digest in found["files"].items()}
        named = found["type"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        message = f"{MANIFEST} can't be read ({error}). The folder was damaged; get it again from where it was published."
        raise ArtifactRefused(message) from None
    if named != kind:
        message = f"{MANIFEST} has type {named!r}; this version reads {kind}. Use a newer Plumbline."
        raise ArtifactRefused(message)
    return found | {"files": files}


def digests(folder: Path, *, apart: frozenset[str] = frozenset({MANIFEST, SIGNATURE})) -> dict[str, str]:
    """sha256 of every file of a folder but those `apart`, by relative path; on as many processors as there are.

    A link counts as a file, and is never followed. An empty folder counts as one too: it was not there when a pack was made.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = PurePosixPath(path.relative_to(folder)).as_posix()
        if name in apart:
            continue
        if path.is_symlink() or path.is_file():
            found[name] = path
        elif not any(path.iterdir()):
            found[f"{name}/"] = path
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(found, pool.map(_digest, found.values()), strict=True))


def _digest(path: Path) -> str:
    if path.is_symlink():
        return LINK
    if path.is_dir():
        return "an empty folder"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
