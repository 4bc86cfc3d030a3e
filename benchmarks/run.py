"""How long `make run` takes from a clean clone with the environment installed, and again with nothing changed.

    make bench NAME=run

ends with {"cold_s", "warm_s", "startup_share", "peak_mb", "steps": {STEP: {"startup", "input", "work", "logging"}}}.
`startup_share` is start-up and logging of all steps over the whole cold run; `peak_mb` is the resident memory of the
largest single process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1e6
SAMPLE_SECONDS = 0.2


def main() -> None:
    """Clone, run twice, print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "plumbline"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        (clone / ".venv").symlink_to(ROOT / ".venv")
        cold_s, cold_mb = _run(clone)
        steps = _seconds(clone)
        warm_s, warm_mb = _run(clone)
    overhead = sum(seconds.get("startup", 0.0) + seconds.get("logging", 0.0) for seconds in steps.values())
    figures = {
        "cold_s": round(cold_s, 1),
        "warm_s": round(warm_s, 1),
        "startup_share": round(overhead / cold_s, 3),
        "peak_mb": round(max(cold_mb, warm_mb)),
        "steps": steps,
    }
    print(json.dumps(figures))


def _run(clone: Path) -> tuple[float, float]:
    """Wall seconds of `make run`, and the resident megabytes of its largest process."""
    environment = os.environ | {"PYTHONPATH": f"{clone}{os.pathsep}{clone / 'dags'}"}
    begin = time.perf_counter()
    command = ["make", "-o", ".venv/.installed", "run", "APPROVE=unattended"]
    process = subprocess.Popen(command, cwd=clone, env=environment, stdout=sys.stderr)
    peak = _Peak(process.pid)
    peak.start()
    code = process.wait()
    seconds = time.perf_counter() - begin
    peak.ended.set()
    peak.join()
    if code:
        message = f"make run ended with exit code {code}; its output is above."
        raise SystemExit(message)
    return seconds, peak.megabytes


class _Peak(threading.Thread):
    """Watches the resident memory of a process and all its descendants."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.root = psutil.Process(process)
        self.megabytes = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            try:
                family = [self.root, *self.root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for member in family:
                try:
                    self.megabytes = max(self.megabytes, member.memory_info().rss / MEGABYTE)
                except psutil.NoSuchProcess:
                    continue


def _seconds(clone: Path) -> dict[str, dict[str, float]]:
    """Step → phase → seconds, as the steps themselves logged them."""
    from components.lineage import Lineage

    lineage = Lineage(f"sqlite:///{clone}/.plumbline/mlflow.db")
    found: dict[str, dict[str, float]] = {}
    for run in lineage.client.search_runs([lineage.experiment], max_results=1000):
        metrics: dict[str, Any] = run.data.metrics
        phases = {
            name.removeprefix("seconds_"): round(value, 2) for name, value in metrics.items() if name.startswith("seconds_")
        }
        if phases:
            found[run.data.tags["plumbline.step"]] = phases
    return found


if __name__ == "__main__":
    main()
