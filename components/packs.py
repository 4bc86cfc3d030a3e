"""Calls governance through its command line: documents are made from files, by code that knows nothing of the pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from components import installed
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[1]
MLFLOW_UI = "http://127.0.0.1:5000"
"""Where `make up` serves MLflow's pages, unless PLUMBLINE_MLFLOW_UI says otherwise."""


def render(
    evidence: Path,
    pack: Path,
    *,
    release: Path,
    attachments: Mapping[str, Path],
    timeout_seconds: float,
    pdf: bool = False,
) -> None:
    """Write the pack of the evidence in a folder; its `previous/` holds that of the release before.

    Raises:
        ArtifactRefused: Governance could not read the evidence, or took too long; the message is its own.
    """
    command = [sys.executable, "-m", "governance", "render", str(evidence), str(pack)]
    command += ["--mlflow-ui", os.environ.get("PLUMBLINE_MLFLOW_UI") or MLFLOW_UI, "--release", str(release)]
    command += ["--previous", str(evidence / "previous")] if (evidence / "previous").is_dir() else []
    command += ["--pdf"] if pdf else []
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "installed.json"
        listed.write_text(installed.text(), encoding="utf-8")
        for name, path in {"constraints.txt": ROOT / "constraints.txt", "installed.json": listed, **attachments}.items():
            command += ["--attach", f"attachments/{name}={path}"] if path.is_file() else []
        _run(command, timeout_seconds)


def _run(command: list[str], timeout_seconds: float) -> None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired:
        message = (
            f"Governance did not render the pack within {timeout_seconds} s. Raise document.timeout_seconds and run it again."
        )
        raise ArtifactRefused(message) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"governance ended with exit code {done.returncode} and said nothing."]
        raise ArtifactRefused(lines[-1].removeprefix("ArtifactRefused: "))
