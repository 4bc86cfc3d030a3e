"""PostgreSQL for `make up DATABASE=postgresql`: a cluster of its own on loopback, with a password, as a child process."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import TryAgain

if TYPE_CHECKING:
    from plumbline_airflow.home import Home

USER = "plumbline"
DATABASES = ("airflow", "mlflow")
READY_SECONDS = 30
SYSTEM = Path("/usr/lib/postgresql")
ROOTS = Path("/var/lib/postgresql")
"""PostgreSQL refuses to run as root; then it runs as `postgres`, in a folder that this user can reach."""


@dataclass(frozen=True)
class Cluster:
    """Where the databases are."""

    folder: Path
    port: int
    password: str

    def address(self, database: str) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg2://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"


def cluster(home: Home, port: int) -> Cluster:
    """The cluster of this project folder."""
    folder = home.state / "postgres"
    if os.getuid() == 0:
        folder = ROOTS / f"plumbline-{hashlib.sha256(str(home.root).encode()).hexdigest()[:12]}"
    return Cluster(folder, port, home.secret("postgres"))


def start(made: Cluster, log: Path) -> subprocess.Popen[bytes]:
    """Make the cluster where there is none, start it, and make its databases.

    Raises:
        TryAgain: PostgreSQL is not installed, or did not start.
    """
    if not (made.folder / "PG_VERSION").exists():
        _initialize(made)
    command = [_program("postgres"), "-D", str(made.folder), "-p", str(made.port)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={made.folder}"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/", **_account()
        )
    try:
        _databases(made, process, log)
    except BaseException:
        stop(process)
        raise
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it now, whoever is connected, with nothing lost."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _initialize(made: Cluster) -> None:
    made.folder.parent.mkdir(parents=True, exist_ok=True)
    secret = made.folder.parent / f".{made.folder.name}.password"
    secret.unlink(missing_ok=True)
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made.password)
    if _account():
        shutil.chown(secret, **_account())
    command = [_program("initdb"), "-D", str(made.folder), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
    command += [f"--pwfile={secret}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **_account())
    finally:
        secret.unlink()
    if done.returncode:
        message = f"PostgreSQL could not make {made.folder}: {done.stderr.strip().splitlines()[-1]}. Remove it, and try again."
        raise TryAgain(message)


def _databases(made: Cluster, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg2  # noqa: PLC0415  (only where this database is chosen)

    limit = time.monotonic() + READY_SECONDS
    while True:
        try:
            connection = psycopg2.connect(
                host="127.0.0.1", port=made.port, user=USER, password=made.password, dbname="postgres", connect_timeout=5
            )
            break
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > limit:
                message = f"PostgreSQL did not start on port {made.port}. {log} says why."
                raise TryAgain(message) from None
            time.sleep(0.1)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        there = {row[0] for row in cursor.fetchall()}
        for name in DATABASES:
            if name not in there:
                cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()


def _program(name: str) -> str:
    """The newest installed version's program.

    Raises:
        TryAgain: There is none.
    """
    versions = sorted(SYSTEM.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0)
    found = str(versions[-1]) if versions else shutil.which(name)
    if not found:
        message = (
            f"PostgreSQL's `{name}` is not on this machine. Install the server (Debian: postgresql), or leave DATABASE out."
        )
        raise TryAgain(message)
    return found


def _account() -> dict[str, Any]:
    """As whom it runs: as ourselves, but never as root."""
    return {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
