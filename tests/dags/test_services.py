"""What `make up` started: ended with all that it started in turn, and started again where it ended unasked."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from components.errors import TryAgain
from plumbline_airflow import keeper, services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESERTER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=NEW_SESSION)
print(child.pid, flush=True)
child.wait()
"""
"""Starts a process, and leaves it behind when it is asked to end."""


@pytest.mark.parametrize("new_session", [False, True])
def test_what_a_service_leaves_behind_is_ended(*, new_session: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "GRACE_SECONDS", 0.5)
    command = [sys.executable, "-c", DESERTER.replace("NEW_SESSION", str(new_session))]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert service.stdout is not None
    child = int(service.stdout.readline())

    services.end([service])

    assert service.poll() is not None
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_one_that_has_ended_already_is_no_error():
    service = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    service.wait()

    services.end([service])


WORKERS = """
import subprocess, sys, time
busy = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
for work in (busy, "import time; time.sleep(600)"):
    print(subprocess.Popen([sys.executable, "-c", work]).pid, flush=True)
time.sleep(600)
"""
"""Starts a worker that has a task, and one that waits for one."""


def _alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """What a test started, ended after it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    services.end(processes)


def _kept(started: list[subprocess.Popen[bytes]], program: str, *, lasts: bool = False) -> keeper.Kept:
    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))
        return started[-1]

    return keeper.Kept("it", start, lasts=lasts)


@pytest.mark.parametrize("lasts", [False, True])
def test_a_killed_service_is_started_again_and_its_busy_workers_go_on_where_they_may(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, *, lasts: bool
) -> None:
    monkeypatch.setattr(keeper, "IDLE_SECONDS", 0.0)
    kept = _kept(started, WORKERS, lasts=lasts)
    first = kept.process
    assert first.stdout is not None
    busy, idle = int(first.stdout.readline()), int(first.stdout.readline())
    while not psutil.Process(busy).children():
        time.sleep(0.01)

    first.kill()
    first.wait()
    assert kept.keep()

    assert kept.process.pid != first.pid
    assert kept.process.poll() is None
    assert kept.keep()
    assert (_alive(busy), _alive(idle)) == (lasts, False)
    kept.forget()
    assert not _alive(busy)


def test_a_service_that_ends_at_once_again_and_again_is_given_up(started: list[subprocess.Popen[bytes]]) -> None:
    kept = _kept(started, "")
    hopeful = 0
    kept.process.wait()

    while kept.keep():
        kept.process.wait()
        hopeful += 1

    assert hopeful == keeper.STARTS - 1


def test_a_service_that_can_not_start_yet_is_tried_again(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL does not start while processes of the killed one still hold its memory."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    kept = _kept(started, "import time; time.sleep(600)")
    working = kept._start

    def refuse() -> subprocess.Popen[bytes]:
        message = "not yet"
        raise TryAgain(message)

    kept.process.kill()
    kept.process.wait()
    kept._start = refuse
    assert kept.keep()
    kept._start = working
    assert kept.keep()

    assert kept.process.poll() is None
