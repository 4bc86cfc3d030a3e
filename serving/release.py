"""A release folder, as the gateway sees it. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CURRENT = "CURRENT"
"""File in the releases folder that names the release to serve; `deploy` and `rollback` write it."""


@dataclass(frozen=True)
class Release:
    """One release."""

    folder: Path
    name: str
    """`policy-v3`."""
    pipeline_run: str
    pack: str
    """Digest of the governance pack."""
    canaries: tuple[list[dict[str, str]], ...]
    """Dialogues that it must answer before anybody else asks."""


def wanted(releases: Path) -> str:
    """Name of the release to serve; empty where there is none."""
    path = releases / CURRENT
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def read(releases: Path, name: str) -> Release:
    """The release called `name`.

    Raises:
        ValueError: The name leads out of the folder, or the folder holds no release.
    """
    folder = releases / name
    if not name or "/" in name or name.startswith(".") or not (folder / "release.json").is_file():
        message = f"{releases} holds no release called {name!r}"
        raise ValueError(message)
    said: dict[str, Any] = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    canaries = folder / "canaries.json"
    dialogues = json.loads(canaries.read_text(encoding="utf-8")) if canaries.is_file() else []
    artifacts = said.get("artifacts") or {}
    return Release(folder, name, str(said.get("pipeline_run", "")), str(artifacts.get("pack", "")), tuple(dialogues))
