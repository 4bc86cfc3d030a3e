"""`make up` with PostgreSQL in a folder of its own, and its API as the people of a team call it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plumbline_airflow import postgres
from plumbline_airflow.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 660
RUN_SECONDS = 900
ENDED = {"success", "failed"}
TO_READ_SECONDS = 1
"""Airflow 3.3 fails a task that is answered within about 0.1 s of its question: that its first half ended is then reported when
its second half is queued already."""
POSTGRESQL = bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


@dataclass(kw_only=True)
class Api:
    """A running Airflow's API, and its users' tokens."""

    address: str
    passwords: dict[str, str]
    patience_seconds: float = 0.0
    """How long a server that is away, or says 500, is asked again."""
    tokens: dict[str, str] = field(default_factory=dict)

    def call(self, user: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to Airflow's API as `user`: status and JSON."""
        limit = time.monotonic() + self.patience_seconds
        while True:
            try:
                code, said = self._call(user, method, path, body)
            except OSError:
                if time.monotonic() > limit:
                    raise
                code, said = 503, None
            if code < 500 or time.monotonic() > limit:
                return code, said
            time.sleep(0.5)

    def _call(self, user: str, method: str, path: str, body: Any) -> tuple[int, Any]:
        if user not in self.tokens:
            asked = {"username": user, "password": self.passwords[user]}
            code, said = request("POST", f"{self.address}/auth/token", asked, {})
            if code != 201:
                return code, said
            self.tokens[user] = said["access_token"]
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        return request(method, f"{self.address}/api/v2{path}", body, headers)

    def trigger(self, user: str, dag: str, conf: Mapping[str, Any], run: str | None = None) -> str:
        """Start a run; its id. One that is there already is not started twice."""
        body = {"logical_date": None, "conf": dict(conf)} | ({"dag_run_id": run} if run else {})
        code, said = self.call(user, "POST", f"/dags/{dag}/dagRuns", body)
        assert code == 200 or (run and code == 409), said
        return run or str(said["dag_run_id"])

    def state(self, dag: str, run: str) -> str:
        """How a run is."""
        return str(self.call("auditor", "GET", f"/dags/{dag}/dagRuns/{run}")[1]["state"])

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """Task → state."""
        found = self.call("auditor", "GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")[1]["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def ended(self, dag: str, run: str, seconds: float = RUN_SECONDS) -> str:
        """Wait for the end of a run; how it ended."""
        until(lambda: self.state(dag, run) in ENDED, seconds, lambda: f"{self.tasks(dag, run)}")
        return self.state(dag, run)

    def log(self, dag: str, run: str, task: str) -> str:
        """What the last attempt of a task wrote."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}"
        attempt = self.call("admin", "GET", path)[1]["try_number"]
        return json.dumps(self.call("admin", "GET", f"{path}/logs/{attempt}?full_content=true")[1])

    def asked(self, run: str, task: str = "review") -> dict[str, Any]:
        """What a release shows a person, once the task waits for him."""
        until(lambda: self.tasks("release", run).get(task) == "awaiting_input", 120, lambda: f"{self.tasks('release', run)}")
        time.sleep(TO_READ_SECONDS)
        found: dict[str, Any] = self.call("auditor", "GET", question(run, task))[1]
        return found

    def answer(self, user: str, run: str, decision: str, *, task: str = "review", **said: str) -> int:
        """Answer as the form would, with what was shown; status."""
        shown = {name: value["value"] for name, value in self.asked(run, task)["params"].items()}
        given = shown | {"reason": "I have read the pack."} | said
        return self.call(user, "PATCH", question(run, task), {"chosen_options": [decision], "params_input": given})[0]


@dataclass(kw_only=True)
class Platform(Api):
    """What `make up` started."""

    folder: Path
    process: subprocess.Popen[bytes]
    mlflow: str


def question(run: str, task: str) -> str:
    """Where the API has what a task of a release asks a person."""
    return f"/dags/release/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"


@contextmanager
def started(folder: Path, variables: Mapping[str, str], *, config: str, dag: str = "align") -> Iterator[Platform]:
    """Start everything in the folder, wait until the DAG is known, and stop it at the end.

    Args:
        folder: With what `make up` needs: dags, infra, data and their pin.
        variables: The environment, without MLFLOW_TRACKING_URI.
        config: File in the folder with the trigger form's defaults.
        dag: To wait for.
    """
    ports = {name: free_port() for name in ("airflow", "mlflow", "postgres")}
    own = {f"PLUMBLINE_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    environment = {name: value for name, value in (dict(variables) | own).items() if name != "MLFLOW_TRACKING_URI"}
    said = folder / "said.txt"
    command = [sys.executable, "-m", "plumbline_airflow.local", "up", "--database", "postgresql", "--config", config]
    with said.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        ready = "Ctrl-C stops everything."
        until(lambda: ready in said.read_text() or process.poll() is not None, READY_SECONDS, said.read_text)
        assert process.poll() is None, said.read_text()
        passwords = json.loads((folder / ".plumbline" / "secrets" / "passwords.json").read_text())
        address, mlflow = (f"http://127.0.0.1:{ports[name]}" for name in ("airflow", "mlflow"))
        made = Platform(address=address, passwords=passwords, folder=folder, process=process, mlflow=mlflow)
        until(lambda: made.call("admin", "GET", f"/dags/{dag}")[0] == 200, 300, lambda: f"the DAG {dag} is not there")
        yield made
    finally:
        process.terminate()
        process.wait(120)
        shutil.rmtree(postgres.cluster(Home(folder), 0).folder, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    """The environment of a project in a folder: this code, nothing of another folder."""
    foreign = ("PLUMBLINE_", "MLFLOW_TRACKING")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return own | {
        "OMP_NUM_THREADS": "1",
        "PLUMBLINE_DATA_ROOT": str(folder),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}",
    }


def request(method: str, address: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(address, data=data, method=method, headers={**headers, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, _parsed(error.read())


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text or b"null")
    except ValueError:
        return text.decode(errors="replace")


def until(done: Callable[[], Any], seconds: float, say: Callable[[], str]) -> None:
    """Wait for something.

    Raises:
        AssertionError: It did not come.
    """
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, say()
        time.sleep(0.5)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
