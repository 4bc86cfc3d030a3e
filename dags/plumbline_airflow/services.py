"""`make up`: Airflow's four components and MLflow's server, each in a session of its own with a log file of its own.

What ends unasked is started again (`keeper.py`).
"""

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
from functools import partial
from typing import TYPE_CHECKING

import psutil

from components.errors import TryAgain
from plumbline_airflow import postgres
from plumbline_airflow.keeper import Kept, descended

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from plumbline_airflow.home import Home

AIRFLOW_PORT = 8080
MLFLOW_PORT = 5000
POSTGRES_PORT = 5433
USER = "admin"
ROLES = {USER: "admin", "engineer": "op", "reviewer": "user", "auditor": "viewer"}
"""Users of `make up` and their roles in Airflow. What each may do is in docs/operations.md and tested against the API."""
READY_SECONDS = 600
"""A component that ends is seen at once; this is for one that hangs."""
GRACE_SECONDS = 20.0
COMPONENTS = {
    "api-server": ["api-server"],
    "dag-processor": ["dag-processor"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
"""Airflow's processes. `airflow standalone` leaves orphans when it is stopped, and serves logs to the whole network."""
OUTLIVED = ("scheduler",)
"""Components whose processes go on when they are killed: the scheduler's workers bring the steps at work to their end."""


def up(home: Home, *, database: str = "sqlite", config: Path | None = None) -> int:
    """Start everything, print where it is, and stop it all when interrupted."""
    began = time.monotonic()
    ports = {"airflow": _port("PLUMBLINE_AIRFLOW_PORT", AIRFLOW_PORT), "mlflow": _port("PLUMBLINE_MLFLOW_PORT", MLFLOW_PORT)}
    environment = _environment(home, ports)
    if config:
        environment["PLUMBLINE_CONFIG"] = str(config.absolute())
    store = f"sqlite:///{home.state}/mlflow.db"
    kept: list[Kept] = []
    server = None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    try:
        if database == "postgresql":
            made = postgres.cluster(home, _port("PLUMBLINE_POSTGRES_PORT", POSTGRES_PORT))
            server = Kept("postgres", partial(postgres.start, made, _log(home, "postgres")))
            store = made.address("mlflow")
            environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = made.address("airflow")
        _prepare(home, environment, database)
        # In the environment: the store's address holds a password, and argument vectors can be read by every user here.
        environment["MLFLOW_BACKEND_STORE_URI"] = store
        for name, argv in _commands(home, ports).items():
            kept.append(Kept(name, partial(_start, home, name, argv, environment), lasts=name in OUTLIVED))
        _wait(home, [each.process for each in kept], ports)
        _pool(environment, home, database)
        print(_greeting(home, ports, time.monotonic() - began), flush=True)  # noqa: T201  (a command line)
        while all(each.keep() for each in (*([server] if server else []), *kept)):
            time.sleep(0.5)
        message = f"A component ends again and again. Its log in {home.state / 'logs'} says why; then run `make up` again."
        raise TryAgain(message)
    except KeyboardInterrupt:
        print("\nStopping.", flush=True)  # noqa: T201
        return 0
    finally:
        for each in kept:
            each.forget()
        end(each.process for each in kept)
        if server:
            postgres.stop(server.process)


def end(processes: Iterable[subprocess.Popen[bytes] | subprocess.Popen[str]]) -> None:
    """End processes that we started, and all that these started: first asked, after a grace killed.

    Airflow's scheduler leaves its workers behind when it alone is killed, and its API server may end before its own.
    """
    started = list(processes)
    family = [child for process in started for child in descended(process.pid)]
    for process in started:
        if process.poll() is None:
            process.terminate()
    _, left = psutil.wait_procs(family, timeout=GRACE_SECONDS)
    for straggler in left:
        straggler.kill()
    for process in started:
        _kill_group(process.pid)
        process.wait()
    psutil.wait_procs(left, timeout=GRACE_SECONDS)


def _kill_group(leader: int) -> None:
    """End what a process started after it was asked to end; each of ours leads a session of its own."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _environment(home: Home, ports: Mapping[str, int]) -> dict[str, str]:
    address = f"http://127.0.0.1:{ports['airflow']}"
    mlflow = f"http://127.0.0.1:{ports['mlflow']}"
    own = {
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ports["airflow"]),
        "AIRFLOW__API__SECRET_KEY": home.secret("api"),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": home.secret("jwt"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords(home)),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "MLFLOW_TRACKING_URI": mlflow,
        "PLUMBLINE_MLFLOW_UI": mlflow,
    }
    environment = home.environment() | own
    environment.pop("PLUMBLINE_ARTIFACTS", None)
    return environment | {"PLUMBLINE_ARTIFACTS": str(home.state / "mlartifacts")}


def _passwords(home: Home) -> Path:
    path = home.state / "secrets" / "passwords.json"
    if not path.exists():
        passwords = {user: home.secret(f"password-{user}")[:16] for user in ROLES}
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(passwords, file)
    return path


def _commands(home: Home, ports: Mapping[str, int]) -> dict[str, list[str]]:
    mlflow = ["server", "--host", "127.0.0.1", "--port", str(ports["mlflow"]), "--workers", "1"]
    mlflow += ["--artifacts-destination", str(home.state / "mlartifacts")]
    airflow = {name: [sys.executable, "-m", "airflow", *words] for name, words in COMPONENTS.items()}
    return {"mlflow": [sys.executable, "-m", "mlflow", *mlflow], **airflow}


def _prepare(home: Home, environment: Mapping[str, str], database: str) -> None:
    """Migrate the database once."""
    done = home.airflow / _marker("migrated", database)
    if done.exists():
        return
    home.airflow.mkdir(parents=True, exist_ok=True)
    print("Preparing Airflow's database, once.", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    migrated = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if migrated.returncode:
        message = f"Airflow's database could not be prepared: {migrated.stderr.strip().splitlines()[-1]}. Run `make up` again."
        raise TryAgain(message)
    done.touch()


def _start(home: Home, name: str, argv: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with _log(home, name).open("ab") as log:
        return subprocess.Popen(
            argv, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _log(home: Home, name: str) -> Path:
    logs = home.state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{name}.log"


def _marker(what: str, database: str) -> str:
    """Name of the file that says `what` was done; that of SQLite is shared with `make run`."""
    return what if database == "sqlite" else f"{what}-{database}"


def _wait(home: Home, processes: list[subprocess.Popen[bytes]], ports: Mapping[str, int]) -> None:
    limit = time.monotonic() + READY_SECONDS
    print("Starting Airflow and MLflow.", flush=True)  # noqa: T201
    while not (_airflow_ready(ports["airflow"]) and _answers(f"http://127.0.0.1:{ports['mlflow']}/health")):
        if any(process.poll() is not None for process in processes) or time.monotonic() > limit:
            message = f"A component did not start. Its log in {home.state / 'logs'} says why; then run `make up` again."
            raise TryAgain(message)
        time.sleep(0.5)


def _airflow_ready(port: int) -> bool:
    text = _answers(f"http://127.0.0.1:{port}/api/v2/monitor/health")
    parts = json.loads(text) if text else {}
    return bool(parts) and all(
        (parts.get(name) or {}).get("status") == "healthy"
        for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")
    )


def _answers(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  (loopback)
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def _pool(environment: Mapping[str, str], home: Home, database: str) -> None:
    """A task in a pool that does not exist would wait for ever without a word."""
    done = home.airflow / _marker("pools", database)
    if not done.exists():
        command = [sys.executable, "-m", "airflow", "pools", "set", "gpu", "1", "Steps that train"]
        subprocess.run(command, env=dict(environment), capture_output=True, check=True)
        done.touch()


def _port(variable: str, default: int) -> int:
    port = int(os.environ.get(variable, default))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            message = f"Port {port} is taken. Stop what uses it, or set {variable} to a free one."
            raise TryAgain(message) from None
    return port


def _greeting(home: Home, ports: Mapping[str, int], seconds: float) -> str:
    password = json.loads(_passwords(home).read_text(encoding="utf-8"))[USER]
    return (
        f"\n  Airflow  http://127.0.0.1:{ports['airflow']}   user {USER}, password {password}\n"
        f"           other users: {', '.join(sorted(set(ROLES) - {USER}))}; passwords in {os.path.relpath(_passwords(home))}\n"
        f"  MLflow   http://127.0.0.1:{ports['mlflow']}\n"
        f"  Logs     {os.path.relpath(home.state / 'logs')}/\n\nReady after {seconds:.0f} s. Ctrl-C stops everything."
    )
