"""The fork server, as a real process on a real socket, with a stand-in for the entrypoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = """
import sys, types, os, time
from components import warmstart
warmstart.ALWAYS = ()
warmstart.LATER = ()
stand_in = types.ModuleType("components.entrypoint")
def main(step):
    print(step, sys.argv[1:], os.environ["COLOUR"], os.getcwd(), flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    if step == "sleep":
        open("pid", "w").write(str(os.getpid()))
        time.sleep(60)
    sys.exit(65)
stand_in.main = main
sys.modules["components.entrypoint"] = stand_in
from pathlib import Path
warmstart.serve(Path(sys.argv[1]))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    address = tmp_path / "warm.sock"
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(address)])
    _wait(address.exists)
    yield address
    process.kill()
    process.wait()


def _wait(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def _client(server: Path, folder: Path, step: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PLUMBLINE_WARM": str(server), "COLOUR": "teal"}
    command = [sys.executable, "-m", "components.warmstart", step, "--pipeline-run", "r 1; $(x)"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


def test_a_step_runs_with_the_clients_arguments_environment_folder_and_streams(server: Path, tmp_path: Path) -> None:
    out, err = (client := _client(server, tmp_path, "ppo")).communicate(timeout=30)

    assert out == f"ppo ['--pipeline-run', 'r 1; $(x)'] teal {tmp_path}\n"
    assert err == "to stderr\n"
    assert client.returncode == 65


def test_steps_run_one_after_the_other_in_processes_of_their_own(server: Path, tmp_path: Path) -> None:
    codes = [_client(server, tmp_path, "ppo").wait(timeout=30) for _ in range(3)]

    assert codes == [65, 65, 65]


def test_a_killed_step_ends_the_client_as_killed(server: Path, tmp_path: Path) -> None:
    client = _client(server, tmp_path, "sleep")
    _wait((tmp_path / "pid").exists)
    _wait((tmp_path / "pid").read_text)

    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    client.communicate(timeout=20)
    assert client.returncode == 137


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_client_ends_the_step(server: Path, tmp_path: Path, how: int) -> None:
    client = _client(server, tmp_path, "sleep")
    _wait((tmp_path / "pid").exists)
    _wait((tmp_path / "pid").read_text)
    step = int((tmp_path / "pid").read_text())

    client.send_signal(how)
    client.communicate(timeout=20)

    _wait(lambda: not _alive(step))


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
