"""Clients that ask the gateway without a pause, while it switches between releases and its model server is killed.

`benchmarks.faults` runs it. The model server is a stand-in that answers at once, so that what is measured is the gateway.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks import standin
from benchmarks.running import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
RELEASES = ("policy-v1", "policy-v2")


@dataclass
class Served:
    """A gateway with two releases and people who ask it."""

    address: str
    releases: Path
    gateway: subprocess.Popen[bytes]
    statuses: list[int] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests so far that were not answered."""
        return sum(status != 200 for status in self.statuses)

    def kill(self) -> None:
        """SIGKILL to the process that serves the model."""
        for child in psutil.Process(self.gateway.pid).children():
            child.kill()

    def switch(self, name: str) -> None:
        """Make another release the current one, and wait until it is served."""
        (self.releases / ".next").write_text(name)
        (self.releases / ".next").replace(self.releases / "CURRENT")
        until(lambda: self._serving() == name, 60, lambda: f"{name} was not served")

    def _serving(self) -> str:
        return str(json.loads(urllib.request.urlopen(f"{self.address}/version", timeout=10).read())["serving"])


@contextmanager
def served(place: Path, *, clients: int, pause_seconds: float = 0.0) -> Iterator[Served]:
    """A gateway in a folder, asked by so many clients until the end."""
    made = _gateway(place)
    over = threading.Event()
    asking = [threading.Thread(target=_ask, args=(made, over, pause_seconds)) for _ in range(clients)]
    try:
        until(lambda: _answers(f"{made.address}/version"), 120, lambda: "the gateway did not start")
        made.switch(RELEASES[0])
        for client in asking:
            client.start()
        yield made
    finally:
        over.set()
        for client in asking:
            if client.ident:
                client.join()
        made.gateway.terminate()
        made.gateway.wait(30)


def _gateway(place: Path) -> Served:
    releases, port = place / "served", free_port()
    place.mkdir(exist_ok=True)
    for name in RELEASES:
        (releases / name / "model").mkdir(parents=True, exist_ok=True)
        (releases / name / "release.json").write_text("{}")
        (releases / name / "canaries.json").write_text(json.dumps([[{"role": "user", "content": "Hi"}]]))
    environment = os.environ | {
        "PLUMBLINE_RELEASES": str(releases),
        "PLUMBLINE_MODEL_SERVER": json.dumps([sys.executable, standin.__file__, "{model}", "{port}"]),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "serving", "--port", str(port), "--state", str(place / "gateway")]
    return Served(f"http://127.0.0.1:{port}", releases, subprocess.Popen(command, cwd=place, env=environment))


def _ask(made: Served, over: threading.Event, pause_seconds: float) -> None:
    import httpx

    with httpx.Client(timeout=90) as client:
        while not over.wait(pause_seconds):
            try:
                answer = client.post(f"{made.address}/v1/chat/completions", json={"messages": []})
                made.statuses.append(answer.status_code)
            except httpx.HTTPError:
                made.statuses.append(0)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


def switches(place: Path) -> dict[str, int]:
    """Ten switches and two kills under eight clients: how many requests there were, and how many failed."""
    with served(place, clients=8) as made:
        for turn in range(10):
            made.switch(RELEASES[1 - turn % 2])
            if turn in {3, 7}:
                made.kill()
                time.sleep(1)
    return {"requests": len(made.statuses), "failed": made.failed}
