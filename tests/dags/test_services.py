"""Stopping what `make up` started, with all that it started in turn."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from plumbline_airflow import services

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
