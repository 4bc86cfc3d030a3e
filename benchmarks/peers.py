"""Environments of what we compare with, each made once below ~/.cache/plumbline/peers, and processes in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.quiet import QUIET

if TYPE_CHECKING:
    from collections.abc import Sequence


def environment(packages: Sequence[str]) -> Path:
    """Python of an environment with these packages, made once; named after the first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "plumbline" / "peers" / packages[0].replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {', '.join(packages)} in {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        subprocess.run(
            [python, "-m", "pip", "install", "-q", *(["--find-links", links] if links else []), *packages], check=True
        )
        (folder / "ready").touch()
    return python


def last_line(command: Sequence[Any]) -> dict[str, float]:
    """What a process with one thread and the product's environment says in its last line, as JSON; nothing if it is silent."""
    words = [str(part) for part in command]
    run = subprocess.run(words, check=False, capture_output=True, text=True, env=os.environ | QUIET | {"OMP_NUM_THREADS": "1"})
    if run.returncode:
        sys.exit(f"{words} ended with {run.returncode}:\n{run.stderr[-3000:]}")
    lines = run.stdout.splitlines()
    found: dict[str, float] = json.loads(lines[-1]) if lines else {}
    return found
