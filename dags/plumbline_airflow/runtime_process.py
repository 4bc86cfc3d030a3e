"""Steps as processes of this machine: an argument vector, no shell."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from plumbline_airflow import events, job, output
from plumbline_airflow.links import PackLink, RunLink

if TYPE_CHECKING:
    from collections.abc import Mapping

GRACE_SECONDS = 10.0


class StepOperator(BaseOperator):
    """Runs one step to its end, and passes its output on line by line."""

    operator_extra_links = (RunLink(), PackLink())
    ui_color = "#e8eef4"

    def __init__(self, *, step: str, **options: Any) -> None:
        super().__init__(**options)
        self.step = step
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Mapping[str, Any]) -> None:
        """Run the step.

        Raises:
            AirflowFailException: The step refused its input, or a gate or a person said no. Not retried.
            AirflowException: Anything else; retried with backoff.
        """
        run = job.pipeline_run(context)
        events.tell("begin", self.step, run)
        self._process = subprocess.Popen(
            job.argv(self.step, run),
            env=job.machine() | job.environment(self.step, context),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        complaint = self._follow(context)
        output.judge(self.step, self._process.wait(), complaint)

    def on_kill(self) -> None:
        """End the step and whatever it started."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)

    def _follow(self, context: Mapping[str, Any]) -> str:
        """Pass on what the step prints; what it printed on stderr at the end."""
        assert self._process is not None, "execute started it"
        complaint: list[str] = []
        reader = threading.Thread(target=self._read_errors, args=(complaint,), daemon=True)
        reader.start()
        for line in self._process.stdout or ():
            output.heed(self, line.rstrip("\n"), context)
        reader.join()
        return "".join(complaint)

    def _read_errors(self, complaint: list[str]) -> None:
        assert self._process is not None, "execute started it"
        for line in self._process.stderr or ():
            self.log.info("%s", line.rstrip("\n"))
            complaint.append(line)
