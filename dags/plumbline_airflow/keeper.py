"""A service that is started again when it ends unasked, as Compose and Kubernetes do for theirs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psutil

from components.errors import TryAgain

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

HEALTHY_SECONDS = 60.0
"""A service that ran for so long had started well."""
STARTS = 5
"""In a row, none of which ran for so long: then it is given up."""
IDLE_SECONDS = 30.0


class Kept:
    """One service.

    Args:
        name: For messages.
        start: Starts it as the leader of a session of its own.
        lasts: Whether what it had started may go on when it is killed. Its idle processes are ended after a while.
    """

    def __init__(self, name: str, start: Callable[[], subprocess.Popen[bytes]], *, lasts: bool = False) -> None:
        self.name, self.lasts = name, lasts
        self._start = start
        self._failures = 0
        self._gone: dict[int, float] = {}
        self._begin()

    def keep(self) -> bool:
        """Start it again if it ended; whether there is hope."""
        self._end_idle()
        if self.process.poll() is None:
            return True
        self._failures = 0 if time.monotonic() - self._began > HEALTHY_SECONDS else self._failures + 1
        if self.lasts:
            self._gone[self.process.pid] = time.monotonic()
        else:
            _end(left_by(self.process.pid))
        print(f"{self.name} ended ({self.process.returncode}); it is started again.", flush=True)  # noqa: T201  (a command line)
        try:
            self._begin()
        except TryAgain:
            time.sleep(1)
        return self._failures < STARTS

    def forget(self) -> None:
        """End what earlier processes of this service left behind."""
        for leader in self._gone:
            _end(left_by(leader))

    def _begin(self) -> None:
        self._began = time.monotonic()
        self.process = self._start()

    def _end_idle(self) -> None:
        """Airflow's workers wait for ever for a scheduler that was killed; one that runs a task has a child."""
        for leader, since in list(self._gone.items()):
            if time.monotonic() - since < IDLE_SECONDS:
                continue
            members = _group(leader)
            _end([member for member in members if _is_idle(member, {each.pid for each in members})])
            if not members:
                del self._gone[leader]


def _is_idle(member: psutil.Process, group: set[int]) -> bool:
    """Whether it has no child, and is no worker's child itself."""
    try:
        return member.ppid() not in group and not member.children()
    except psutil.NoSuchProcess:
        return False


def descended(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it; empty where it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def left_by(leader: int) -> list[psutil.Process]:
    """What a process that led a session left behind, wherever it went from there."""
    return [child for member in _group(leader) for child in descended(member.pid)]


def _group(leader: int) -> list[psutil.Process]:
    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == leader:
                found.append(psutil.Process(pid))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=5)
