"""`make up`: both UIs come up, Airflow refuses a bad value by name, and an interrupt leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Project

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.xdist_group("e2e-up")]
READY_SECONDS = 240


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def running(project: Project, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    port = _free_port()
    project.variables = {"PLUMBLINE_AIRFLOW_PORT": str(port), "PLUMBLINE_MLFLOW_PORT": str(_free_port())}
    environment = {name: value for name, value in project.environment.items() if name != "MLFLOW_TRACKING_URI"}
    said = tmp_path / "said.txt"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "plumbline_airflow.local", "up"],
            cwd=project.folder,
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    limit = time.monotonic() + READY_SECONDS
    while "Ctrl-C stops everything." not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < limit, said.read_text()
        time.sleep(0.5)
    yield process, f"http://127.0.0.1:{port}", said
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _call(address: str, body: dict[str, Any], token: str = "") -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _token(address: str, said: Path) -> str:
    user, password = said.read_text().split("user ")[1].splitlines()[0].split(", password ")
    code, text = _call(f"{address}/auth/token", {"username": user, "password": password})
    assert code == 201, text
    return str(json.loads(text)["access_token"])


def test_it_serves_refuses_bad_values_by_name_and_stops_without_a_trace(
    running: tuple[subprocess.Popen[bytes], str, Path],
) -> None:
    process, address, said = running
    token = _token(address, said)
    runs = f"{address}/api/v2/dags/align/dagRuns"
    limit = time.monotonic() + 60
    code, text = 404, ""
    while code == 404 and time.monotonic() < limit:  # the DAG processor has not read the files yet
        code, text = _call(runs, {"logical_date": None, "conf": {"ppo.kl_coef": -1}}, token)
        time.sleep(1)

    assert code == 400, text
    assert "ppo.kl_coef" in text
    assert _call(runs, {"logical_date": None, "conf": {}})[0] == 401

    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(90) == 0
    assert [pid for pid in family if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE] == []
