"""Fifty rounds of a short pipeline, in each of which something is killed with SIGKILL at a random moment.

    make bench NAME=faults

ends with {"rounds", "wrong_states", "duplicates", "orphans", "failed_requests_in_switch"}.

Each round is a pipeline run of its own (`start`, `validate`, `base`, `sft`, with a seed of its own, so nothing is reused) on a
MLflow server over PostgreSQL, its steps started and started again as Airflow would: not after exit codes 65 and 66, else
again. The victim is drawn by the round's seed: the step at work, MLflow's server with its workers, or every process of
PostgreSQL; what serves is started again after a moment. At the end of all rounds MLflow is looked at:

    wrong_states   a run that did not end finished, or a step of it that nobody signed
    duplicates     registered versions beyond one for each run and model
    orphans        MLflow runs that still say RUNNING
    failed_requests_in_switch   requests of eight clients that failed while the gateway switched between releases ten times and
                   its model server was killed twice

What it does not cover: Airflow's own processes, and a machine that dies.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = int(os.environ.get("ROUNDS", "50"))
STEPS = ("start", "validate", "base", "sft")
TRIES = 12
SETTINGS = {
    "base": {"vocabulary": 600, "hidden": 16, "layers": 1, "heads": 1, "max_updates": 8},
    "sft": {"max_updates": 2},
}
VICTIMS = ("step", "mlflow", "postgres")


def main() -> None:
    """Run the rounds, look at what is left, print the figures."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        place.chmod(0o755)
        services = Services(place)
        try:
            kills = [_round(services, number) for number in range(ROUNDS)]
            figures = {"rounds": len(kills), **_left(services, len(kills))}
        finally:
            services.end()
        figures["failed_requests_in_switch"] = _switches(place)
    print(f"killed: { {victim: kills.count(victim) for victim in (*VICTIMS, 'nobody')} }", file=sys.stderr)
    print(json.dumps(figures))


class Services:
    """PostgreSQL, MLflow's server and the fork server that starts steps."""

    def __init__(self, place: Path) -> None:
        from components.testbed.folder import write_world
        from plumbline_airflow import postgres
        from plumbline_airflow.home import Home

        self.place = place
        self.cluster = postgres.cluster(Home(place), _free_port())
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        write_world(place / "data", seed=0, size="small")
        _pin(place)
        self.environment = os.environ | {
            "MLFLOW_TRACKING_URI": self.uri,
            "OMP_NUM_THREADS": "1",
            "PLUMBLINE_DATA_ROOT": str(place),
            "PLUMBLINE_KEYS": str(place / "keys"),
            "PLUMBLINE_SCRATCH": str(place / "scratch"),
            "PLUMBLINE_WARM": str(place / "warm.sock"),
        }
        self.postgres = postgres.start(self.cluster, place / "postgres.log")
        self.mlflow = self._mlflow()
        command = [sys.executable, "-m", "components.warmstart", "--serve", str(place / "warm.sock")]
        with (place / "warm.log").open("wb") as log:
            self.warm = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        _until_answers(f"{self.uri}/health")

    def _mlflow(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--artifacts-destination", str(self.place / "artifacts")]
        environment = self.environment | {"MLFLOW_BACKEND_STORE_URI": self.cluster.address("mlflow")}
        environment.pop("MLFLOW_TRACKING_URI")
        with (self.place / "mlflow.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def kill(self, victim: str) -> None:
        """SIGKILL to a service and all its processes; started again after a moment."""
        from plumbline_airflow import postgres

        process = self.mlflow if victim == "mlflow" else self.postgres
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            member.kill()
        process.wait()
        psutil.wait_procs(family, timeout=20)
        time.sleep(0.5)
        if victim == "mlflow":
            self.mlflow = self._mlflow()
        else:
            self.postgres = postgres.start(self.cluster, self.place / "postgres.log")

    def end(self) -> None:
        """Stop everything."""
        import shutil

        from plumbline_airflow import postgres, services

        services.end([self.warm, self.mlflow])
        postgres.stop(self.postgres)
        shutil.rmtree(self.cluster.folder, ignore_errors=True)


def _pin(place: Path) -> None:
    import yaml

    from components.datapin import folder_md5

    out = {"md5": folder_md5(place / "data"), "hash": "md5", "path": "data"}
    (place / "data.dvc").write_text(yaml.safe_dump({"outs": [out]}))


def _round(services: Services, number: int) -> str:
    """One pipeline run with one kill; who was killed."""
    dice = random.Random(number)
    victim, step, after = dice.choice(VICTIMS), dice.choice(STEPS), dice.uniform(0.05, 2.5)
    killed = threading.Event()
    for name in STEPS:
        for _ in range(TRIES):
            process = _start(services, name, number)
            if name == step and not killed.is_set():
                _kill_later(services, victim, process, after, killed)
            code = process.wait()
            if code in {0, 65, 66}:
                break
            time.sleep(0.3)
    print(f"round {number}: {victim if killed.is_set() else 'nobody'} in {step} after {after:.2f} s", file=sys.stderr)
    return victim if killed.is_set() else "nobody"


def _start(services: Services, step: str, number: int) -> subprocess.Popen[bytes]:
    params = {"seed": number, **SETTINGS}
    own = {"PLUMBLINE_PARAMS": json.dumps(params), "PLUMBLINE_TRIGGER": json.dumps({"type": "manual"})}
    command = [sys.executable, "-m", "components.warmstart", step, "--pipeline-run", f"round-{number}"]
    with (services.place / "steps.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=services.environment | own, stdout=log, stderr=log)


def _kill_later(
    services: Services, victim: str, process: subprocess.Popen[bytes], after: float, killed: threading.Event
) -> None:
    """Kill after a while, if the step still runs then."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        killed.set()
        if victim == "step":
            process.kill()
        else:
            services.kill(victim)


def _left(services: Services, rounds: int) -> dict[str, int]:
    """What MLflow shows when all is over."""
    from components import provenance, trust
    from components.errors import ArtifactRefused
    from components.lineage import Lineage

    _until_answers(f"{services.uri}/health")
    lineage = Lineage(services.uri)
    wrong = 0
    for number in range(rounds):
        for step in STEPS:
            try:
                trust.signed_evidence(lineage, f"round-{number}", step, services.place / "keys")
            except ArtifactRefused as error:
                print(f"round {number}: {error}", file=sys.stderr)
                wrong += 1
                break
    assert provenance.functionary("start", services.place / "keys").origin == provenance.LOCAL
    versions = [len(list(_versions(lineage, model))) for model in ("base-model", "sft-policy")]
    running = lineage.client.search_runs([lineage.experiment], "attributes.status = 'RUNNING'", max_results=1000)
    steps = [run for run in running if "plumbline.step" in run.data.tags]
    for run in steps:
        print(f"still RUNNING: {run.data.tags['plumbline.pipeline_run']} {run.data.tags['plumbline.step']}", file=sys.stderr)
    return {"wrong_states": wrong, "duplicates": sum(max(0, count - rounds) for count in versions), "orphans": len(steps)}


def _versions(lineage: Any, model: str) -> Any:
    token = None
    while True:
        page = lineage.client.search_model_versions(f"name = '{model}'", max_results=100, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _switches(place: Path) -> int:
    """Failed requests of eight clients while the gateway switches ten times and its model server is killed twice."""
    import httpx

    releases, port = place / "releases", _free_port()
    script = place / "server.py"
    script.write_text(_SERVER)
    for name in ("policy-v1", "policy-v2"):
        (releases / name / "model").mkdir(parents=True)
        (releases / name / "release.json").write_text("{}")
        (releases / name / "canaries.json").write_text(json.dumps([[{"role": "user", "content": "Hi"}]]))
    environment = os.environ | {
        "PLUMBLINE_RELEASES": str(releases),
        "PLUMBLINE_MODEL_SERVER": json.dumps([sys.executable, str(script), "{model}", "{port}"]),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "serving", "--port", str(port), "--state", str(place / "gateway")]
    gateway = subprocess.Popen(command, cwd=place, env=environment)
    address = f"http://127.0.0.1:{port}"
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                try:
                    statuses.append(client.post(f"{address}/v1/chat/completions", json={"messages": []}).status_code)
                except httpx.HTTPError:
                    statuses.append(0)

    try:
        _until_answers(f"{address}/version")
        _serve(releases, address, "policy-v1")
        clients = [threading.Thread(target=ask) for _ in range(8)]
        for client in clients:
            client.start()
        for turn in range(10):
            _serve(releases, address, f"policy-v{2 - turn % 2}")
            if turn in {3, 7}:
                for child in psutil.Process(gateway.pid).children():
                    child.kill()
                time.sleep(1)
        over.set()
        for client in clients:
            client.join()
    finally:
        over.set()
        gateway.terminate()
        gateway.wait(30)
    print(f"requests in ten switches: {len(statuses)}", file=sys.stderr)
    return sum(status != httpx.codes.OK for status in statuses)


def _serve(releases: Path, address: str, name: str) -> None:
    (releases / ".next").write_text(name)
    (releases / ".next").replace(releases / "CURRENT")
    limit = time.monotonic() + 60
    while json.loads(urllib.request.urlopen(f"{address}/version", timeout=10).read())["serving"] != name:
        if time.monotonic() > limit:
            message = f"{name} was not served"
            raise SystemExit(message)
        time.sleep(0.05)


_SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.say({})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say({"choices": [{"message": {"role": "assistant", "content": "Yes."}}]})
    def say(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def _until_answers(address: str) -> None:
    limit = time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.2)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
