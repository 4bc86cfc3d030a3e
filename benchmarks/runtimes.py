"""What running a step costs besides the step, how long the DAGs take to read, and how long until `make up` is up.

    make bench NAME=runtimes

ends with {"process_overhead_s", "docker_overhead_s", "dag_parse_s", "up_ready_s"}.

    process_overhead_s   a task on the runtime `process` that does nothing, minus the bare process
    docker_overhead_s    the same on the runtime `docker`, minus the task on `process`; null where no engine is reached.
                         PLUMBLINE_BENCH_IMAGE names an image with Python in it, DOCKER_HOST the engine
    dag_parse_s          reading dags/ in a fresh process, after Airflow itself was imported
    up_ready_s           `make up` in an empty folder, until Airflow and MLflow answer

All but the last are medians of ten (parsing: three). Before it, where PostgreSQL's server is, a line with how long Airflow's
scheduler takes from the end of a task to the start of the next, on what `make up` starts.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import running

ROOT = Path(__file__).resolve().parents[1]
TIMES = 10
IMAGE = "plumbline-test/base:bookworm"

TASK = """
import importlib, json, os, statistics, subprocess, sys, time, types
from plumbline_airflow import job
nothing = [os.environ["BENCH_PYTHON"], "-c", "pass"]
job.command = job.argv = lambda *_, **__: nothing
runtime = importlib.import_module("plumbline_airflow.runtime_" + sys.argv[1])
ti = types.SimpleNamespace(dag_id="align", run_id="r", task_id="sft", xcom_push=lambda **_: None)
run = types.SimpleNamespace(run_id="r", conf={}, run_type="manual", triggering_user_name="a")
context = {"dag": types.SimpleNamespace(dag_id="align"), "dag_run": run, "params": {}, "ti": ti}

def timed(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin

times = int(sys.argv[2])
make = lambda: runtime.StepOperator(task_id="sft", step="sft").execute(context)
make()
tasks = [timed(make) for _ in range(times)]
bare = [timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(times)]
print(json.dumps([statistics.median(tasks), statistics.median(bare)]))
"""

PARSE = """
import json, os, time
from airflow.dag_processing.dagbag import DagBag
from airflow.configuration import conf
begin = time.perf_counter()
bag = DagBag(conf.get("core", "dags_folder"))
seconds = time.perf_counter() - begin
assert not bag.import_errors and len(bag.dags) == 2, bag.import_errors
print(json.dumps(seconds))
"""


CHAIN = """
from airflow.sdk import DAG, chain, task

with DAG("chain", schedule=None):
    chain(*(task(lambda: None, task_id=f"t{number:02}")() for number in range(TIMES + 2)))
""".replace("TIMES", str(TIMES))
"""Tasks that do nothing. The first one of a server is slow, and its gap is left out."""


def main() -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environment = _airflow(place)
        task, bare = _last(TASK, environment | {"BENCH_PYTHON": sys.executable}, "process", str(TIMES))
        docker = _docker(place, environment)
        parses = [_last(PARSE, environment) for _ in range(3)]
        ready = _up(place / "project")
        if running.POSTGRESQL:
            print(f"from the end of a task to the start of the next: {_gap(place / 'chain'):.2f} s")
    figures = {
        "process_overhead_s": round(task - bare, 3),
        "docker_overhead_s": None if docker is None else round(docker - task, 3),
        "dag_parse_s": round(statistics.median(parses), 2),
        "up_ready_s": round(ready, 1),
    }
    print(json.dumps(figures))


def _airflow(place: Path) -> dict[str, str]:
    environment = os.environ | {
        "AIRFLOW_HOME": str(place / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}",
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


def _last(program: str, environment: dict[str, str], *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def _docker(place: Path, environment: dict[str, str]) -> float | None:
    """Median seconds of a task in a container; None without an engine or the image."""
    image = os.environ.get("PLUMBLINE_BENCH_IMAGE", IMAGE)
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode:
        print(f"no Docker engine with the image {image}: docker_overhead_s is not measured", file=sys.stderr)
        return None
    (place / "keys" / "sft").mkdir(parents=True)
    (place / "scratch").mkdir()
    volumes = {"keys": str(place / "keys"), "scratch": str(place / "scratch")}
    own = {
        "BENCH_PYTHON": "python3",
        "PLUMBLINE_DOCKER_VOLUMES": json.dumps(volumes),
        "PLUMBLINE_IMAGE_TRAIN": image,
    }
    return float(_last(TASK, environment | own, "docker", str(TIMES))[0])


def _gap(project: Path) -> float:
    """Median seconds in which nothing of a chain of tasks is at work."""
    _link(project, "configs")
    (project / "dags").mkdir()
    (project / "dags" / "chain.py").write_text(CHAIN)
    with running.started(project, running.environment(project), config="configs/testbed.toml", dag="chain") as team:
        run = team.trigger("admin", "chain", {})
        if team.ended("chain", run) != "success":
            sys.exit(str(team.tasks("chain", run)))
        _, found = team.call("admin", "GET", f"/dags/chain/dagRuns/{run}/taskInstances")
    tasks = sorted(found["task_instances"], key=lambda task: str(task["task_id"]))
    begun, ended = ([datetime.fromisoformat(task[name]) for task in tasks] for name in ("start_date", "end_date"))
    gaps = [(begin - end).total_seconds() for end, begin in zip(ended[1:-1], begun[2:], strict=True)]
    return statistics.median(gaps)


def _link(project: Path, *names: str) -> None:
    project.mkdir()
    for name in names:
        (project / name).symlink_to(ROOT / name)
    (project / ".venv").symlink_to(sys.prefix)


def _up(project: Path) -> float:
    """Seconds from `make up` to its greeting, in a folder that has nothing yet but data."""
    _link(project, "Makefile", "dags", "infra", "configs", "components", "constraints.txt", "data.dvc")
    (project / "data").mkdir()
    ports = {name: _free_port() for name in ("AIRFLOW", "MLFLOW")}
    environment = os.environ | {f"PLUMBLINE_{name}_PORT": str(port) for name, port in ports.items()}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'dags'}"
    begin = time.perf_counter()
    process = subprocess.Popen(
        ["make", "-o", ".venv/.installed", "up"], cwd=project, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "Ctrl-C stops everything." in line:
                return time.perf_counter() - begin
        message = "make up ended before it was ready."
        raise SystemExit(message)
    finally:
        _interrupt(process)


def _interrupt(process: subprocess.Popen[str]) -> None:
    import psutil

    for child in psutil.Process(process.pid).children():
        child.terminate()
    process.wait(120)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
