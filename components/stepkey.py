"""The step key: what a step's result depends on, as one digest. Equal keys, equal results; so a finished run is reused.

    key = sha256(step, its code and whatever it imports from this repository, lock file, settings, seed, input digests)

What it does not cover: the kind of device (a GPU rounds differently than a CPU) and system libraries. Both are in the
evidence.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.catalog import STEPS
from components.provenance import file_digest, listing_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "constraints.txt"
SHARED = (
    "accounting",
    "catalog",
    "config",
    "context",
    "entrypoint",
    "errors",
    "evidence",
    "history",
    "lineage",
    "provenance",
    "quiet",
    "record",
    "seal",
    "states",
    "stepkey",
    "trust",
    "warmstart",
)
"""Shared files that carry results but don't shape them: a change in them trains nothing again."""


def code_digest(step: str) -> str:
    """Digest of a step's folder, the shared files it imports, directly or not, and the catalog's other folders for it."""
    files = _reached(_sources(ROOT / "components" / step))
    for folder in STEPS[step].code:
        files |= set(_sources(ROOT / folder))
    return _digest(files)


def module_digest(path: Path) -> str:
    """Digest of one module and of whatever it imports from this repository, directly or not."""
    return _digest(_reached([path]))


def _reached(waiting: list[Path]) -> set[Path]:
    """These files and what they import."""
    files: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        waiting += [found for name in _imports(path) for found in _module_files(name)]
    return files


def _digest(files: set[Path]) -> str:
    return listing_digest({_place(path): file_digest(path) for path in files})


def _place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def lock_digest() -> str:
    """Digest of the lock file that the environment is installed from."""
    return f"sha256:{file_digest(LOCK)}" if LOCK.exists() else ""


def step_key(step: str, *, settings: Mapping[str, Any], seed: int, inputs: Mapping[str, str]) -> str:
    """`sha256:HEX` over everything a step's result depends on.

    Args:
        step: Name of the step.
        settings: Its section of the config, defaults included.
        seed: The pipeline run's seed.
        inputs: Artifact, or other thing that was read → its digest.
    """
    parts = {
        "step": step,
        "code": code_digest(step),
        "lock": lock_digest(),
        "settings": settings,
        "seed": seed,
        "inputs": inputs,
    }
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _imports(path: Path) -> Iterator[str]:
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module_files(name: str) -> list[Path]:
    parts = name.split(".")
    if parts[0] != "components" or len(parts) < 2 or parts[1] in SHARED:
        return []
    path = ROOT.joinpath(*parts)
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    return [candidate for candidate in candidates if candidate.exists()]
