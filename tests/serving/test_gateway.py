"""The gateway, as its callers meet it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("serving")


def test_before_the_first_release_it_says_so(gateway: Any) -> None:
    running = gateway()

    assert httpx.get(f"{running.address}/health").status_code == 503
    assert running.ask().status_code == 503


def test_an_answer_says_which_version_gave_it_and_that_it_is_an_ai(gateway: Any) -> None:
    running = gateway()
    running.add("policy-v1")
    running.want("policy-v1")
    running.until(serving="policy-v1")

    answer = running.ask()

    assert answer.status_code == 200
    assert answer.headers["X-Plumbline-Version"] == "policy-v1"
    assert answer.headers["X-Plumbline-Pack"] == "sha256:policy-v1"
    assert answer.headers["X-AI-Generated"] == "true"
    said = answer.json()
    assert said["choices"][0]["message"]["content"] == "I am policy-v1"
    assert said["model"] == "policy-v1"
    assert said["plumbline"]["disclosure"].startswith("You are talking to an AI system.")
    assert httpx.get(f"{running.address}/v1/models").json()["data"][0]["id"] == "policy-v1"
    assert httpx.get(f"{running.address}/health").status_code == 200


def test_a_stream_arrives_in_parts_with_the_same_headers(gateway: Any) -> None:
    running = gateway()
    running.add("policy-v1")
    running.want("policy-v1")
    running.until(serving="policy-v1")

    with httpx.stream("POST", f"{running.address}/v1/chat/completions", json={"messages": [], "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]

    assert answer.headers["X-Plumbline-Version"] == "policy-v1"
    assert len(lines) == 3
    assert all(line.startswith("data: ") for line in lines)


class Load:
    """Clients that ask all the time, each over connections of its own."""

    def __init__(self, running: Any, clients: int) -> None:
        self.statuses: list[int] = []
        self.versions: list[str] = []
        self._running, self._ended = running, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client() as client:
            while not self._ended.is_set():
                try:
                    answer = self._running.ask(client)
                    self.statuses.append(answer.status_code)
                    self.versions.append(answer.headers.get("X-Plumbline-Version", ""))
                except httpx.HTTPError:
                    self.statuses.append(0)


def test_no_request_fails_in_a_switch_under_load(gateway: Any) -> None:
    running = gateway()
    for name in ("policy-v1", "policy-v2"):
        running.add(name)
    running.want("policy-v1")
    running.until(serving="policy-v1")

    with Load(running, clients=12) as load:
        for name in ("policy-v2", "policy-v1", "policy-v2"):
            time.sleep(0.5)
            running.want(name)
            running.until(serving=name)
        time.sleep(0.5)

    assert set(load.statuses) == {200}
    assert len(load.statuses) > 50
    assert set(load.versions) == {"policy-v1", "policy-v2"}
    limit = time.monotonic() + 20
    while len(psutil.Process(running.process.pid).children()) > 1 and time.monotonic() < limit:
        time.sleep(0.1)
    assert len(psutil.Process(running.process.pid).children()) == 1, "the servers of earlier releases have ended"


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ("silent", "policy-v2 gave an empty answer to a canary prompt"),
        ("broken", "the server of policy-v2 ended while it started"),
    ],
)
def test_a_release_that_fails_its_canaries_never_sees_a_request(gateway: Any, behaviour: str, why: str) -> None:
    running = gateway()
    running.add("policy-v1")
    running.add("policy-v2", behaviour)
    running.want("policy-v1")
    running.until(serving="policy-v1")

    with Load(running, clients=4) as load:
        running.want("policy-v2")
        said = running.until(refused="policy-v2")

    assert why in said["error"]
    assert said["serving"] == "policy-v1"
    assert set(load.statuses) == {200}
    assert set(load.versions) == {"policy-v1"}
    running.want("policy-v1")
    assert running.until(refused="")["serving"] == "policy-v1"


def test_a_killed_model_server_is_replaced_and_its_callers_wait(gateway: Any) -> None:
    running = gateway()
    running.add("policy-v1")
    running.want("policy-v1")
    running.until(serving="policy-v1")
    pid = running.releases / "policy-v1" / "model" / "pid"
    first = int(pid.read_text())

    with Load(running, clients=4) as load:
        time.sleep(0.3)
        os.kill(first, signal.SIGKILL)
        limit = time.monotonic() + 60
        while int(pid.read_text()) == first and time.monotonic() < limit:
            time.sleep(0.1)
        time.sleep(1.5)

    assert int(pid.read_text()) != first
    assert set(load.statuses) == {200}


@pytest.mark.parametrize("name", ["../elsewhere", ".hidden", "policy-v9"])
def test_a_name_that_is_no_release_is_refused(gateway: Any, name: str) -> None:
    running = gateway()
    running.want(name)

    assert "holds no release called" in running.until(refused=name)["error"]


def test_callers_have_keys_where_keys_are_asked_for(gateway: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"shop {hashlib.sha256(b'open sesame').hexdigest()}\n")
    running = gateway(PLUMBLINE_GATEWAY_KEYS=str(keys))
    running.add("policy-v1")
    running.want("policy-v1")
    running.until(serving="policy-v1")

    assert running.ask().status_code == 401
    assert running.ask(headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert running.ask(headers={"Authorization": "Bearer open sesame"}).status_code == 200
    (entry,) = _journal(running)
    assert (entry["caller"], entry["version"], entry["status"]) == ("shop", "policy-v1", 200)


def _journal(running: Any) -> list[dict[str, Any]]:
    files = sorted((running.state / "journal").glob("requests-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kept", ["0", "1"])
def test_the_request_log_keeps_what_was_said_only_where_told_to(gateway: Any, kept: str) -> None:
    running = gateway(PLUMBLINE_JOURNAL_CONTENT=kept)
    running.add("policy-v1")
    running.want("policy-v1")
    running.until(serving="policy-v1")

    running.ask()

    (entry,) = _journal(running)
    assert ("Who are you?" in json.dumps(entry)) == (kept == "1")
    assert entry["seconds"] > 0


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 400), (b"x" * (5 << 20), 413)])
def test_a_body_that_is_no_request_is_refused(gateway: Any, body: bytes, status: int) -> None:
    running = gateway()
    running.add("policy-v1")
    running.want("policy-v1")
    running.until(serving="policy-v1")

    assert httpx.post(f"{running.address}/v1/chat/completions", content=body).status_code == status
