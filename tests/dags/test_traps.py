"""Airflow's traps that a setting of an operator, or of the runner, keeps shut: docs/traps.md."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGE = f"x@sha256:{'0' * 64}"

pytestmark = pytest.mark.xdist_group("airflow")


def _last(done) -> object:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_that_a_container_wrote_is_unpickled(python) -> None:
    program = """
import json
from plumbline_airflow.runtime_docker import StepOperator
made = StepOperator(task_id="ppo", step="ppo")
print(json.dumps([made.retrieve_output, made.mount_tmp_dir]))
"""
    assert _last(python(program, PLUMBLINE_IMAGE_TRAIN=IMAGE)) == [False, False]


def test_a_pod_is_taken_up_again_by_the_next_attempt(python) -> None:
    program = """
import json
from plumbline_airflow.runtime_kubernetes import StepOperator
made = StepOperator(task_id="ppo", step="ppo")
print(json.dumps([made.durable, made.termination_grace_period]))
"""
    assert _last(python(program, PLUMBLINE_IMAGE_TRAIN=IMAGE)) == [True, 60]


def test_the_review_can_be_shown_as_it_is(python) -> None:
    """Airflow validates the form's defaults when the task starts, and fails it where one is not valid."""
    program = """
import json
from airflow.sdk.definitions.param import ParamsDict
from plumbline_airflow.approval import review
form = ParamsDict(dict(review("review").params))
print(json.dumps(form.validate()))
"""
    assert _last(python(program)) == {"reason": None, "pack": None, "summary": None}


@pytest.mark.slow
def test_the_runner_ends_when_it_is_asked_to_after_a_dag(airflow_home, tmp_path) -> None:
    """`dag.test()` leaves a handler behind that swallows the signal; the pipe stays open, so the runner would read on."""
    (tmp_path / "dags").mkdir()
    task = "import airflow.sdk as a\nwith a.DAG('one', schedule=None):\n    a.task(lambda: 7, task_id='seven')()\n"
    (tmp_path / "dags" / "one.py").write_text(task)
    read, write = os.pipe()
    own = {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"), "PLUMBLINE_REPLIES": str(write)}
    command = [sys.executable, "-m", "plumbline_airflow.runner"]
    runner = subprocess.Popen(
        command,
        cwd=ROOT,
        env=airflow_home | own,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        pass_fds=(write,),
    )
    os.close(write)
    assert runner.stdin is not None
    try:
        with os.fdopen(read) as replies:
            assert replies.readline() == "ready\n"
            runner.stdin.write(json.dumps({"dag": "one", "conf": {}}) + "\n")
            runner.stdin.flush()
            assert replies.readline().startswith("success ")
            runner.send_signal(signal.SIGTERM)
            assert runner.wait(30) == -signal.SIGTERM
    finally:
        runner.kill()
        runner.stdin.close()
