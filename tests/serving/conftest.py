"""A real gateway process, over model servers that are stand-ins but real processes too."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from benchmarks import standin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    address: str
    releases: Path
    state: Path
    process: subprocess.Popen[bytes]
    patience: float = 60.0
    """How long a release may take to be served. [s]"""

    def add(self, name: str, behaviour: str = "ok") -> None:
        """A release folder."""
        model = self.releases / name / "model"
        model.mkdir(parents=True)
        (model / "behaviour").write_text(behaviour)
        (self.releases / name / "release.json").write_text(
            json.dumps({"pipeline_run": "run-1", "artifacts": {"pack": f"sha256:{name}"}})
        )
        (self.releases / name / "canaries.json").write_text(json.dumps([[{"role": "user", "content": "Hi"}]]))

    def want(self, name: str) -> None:
        (self.releases / ".next").write_text(name + "\n")
        (self.releases / ".next").replace(self.releases / "CURRENT")

    def version(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.address}/version", timeout=10).json())

    def until(self, **expected: str) -> dict[str, Any]:
        limit = time.monotonic() + self.patience
        while True:
            try:
                said = self.version()
                if all(said[name] == value for name, value in expected.items()):
                    return said
            except httpx.TransportError:
                said = {}
            assert time.monotonic() < limit, said
            time.sleep(0.05)

    def ask(self, client: httpx.Client | None = None, **more: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "Who are you?"}], "model": "any"} | more
        headers = body.pop("headers", {})
        return (client or httpx).post(f"{self.address}/v1/chat/completions", json=body, timeout=60, headers=headers)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**variables: str) -> Running:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        releases, state = tmp_path / "releases", tmp_path / "state"
        releases.mkdir()
        environment = os.environ | {
            "PLUMBLINE_RELEASES": str(releases),
            "PLUMBLINE_MODEL_SERVER": json.dumps([sys.executable, standin.__file__, "{model}", "{port}"]),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "serving", "--port", str(port), "--state", str(state)]
        process = subprocess.Popen(command, env=environment | variables, cwd=tmp_path)
        made = Running(f"http://127.0.0.1:{port}", releases, state, process)
        started.append(made)
        made.until(serving="")
        return made

    yield start
    for running in started:
        running.process.terminate()
        running.process.wait(30)
