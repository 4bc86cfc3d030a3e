"""`infra/compose.yaml`: accepted by Compose where that is on the machine, and what it promises, anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2] / "infra"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.fixture
def prepared(tmp_path: Path, made_site: Callable[..., Path]) -> Path:
    return made_site(tmp_path)


def test_compose_accepts_the_file(prepared: Path, compose: list[str]) -> None:
    done = subprocess.run(
        [*compose, "-f", "compose.yaml", "--env-file", "compose/.env", "config"],
        cwd=prepared,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)


def test_preparing_twice_changes_nothing_and_leaves_no_secret_open(prepared: Path, made_site: Callable[..., Path]) -> None:
    files = [*(prepared / "compose" / "secrets").iterdir(), prepared / "compose" / "mlflow.env"]
    before = {path.name: path.read_bytes() for path in files}

    made_site(prepared)

    assert {path.name: path.read_bytes() for path in files} == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert {path.name for path in (prepared / "compose" / "secrets").iterdir()} == set(COMPOSE["secrets"])


def test_every_port_is_bound_to_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_password_stands_in_the_file() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")

    assert re.findall(r"(?i)(password|secret|key)[a-z_]*: ['\"]?[A-Za-z0-9+=]{12,}", text) == []
    assert "://plumbline:" not in text


def test_what_stays_is_in_named_volumes_and_what_serves_has_a_health_check() -> None:
    assert set(COMPOSE["volumes"]) == {"airflow", "artifacts", "journal", "postgres", "releases", "scratch"}
    assert [name for name, service in SERVICES.items() if "healthcheck" not in service] == ["migrate"]


def test_one_service_alone_holds_the_engines_socket() -> None:
    holders = [name for name, service in SERVICES.items() if any("docker.sock" in str(v) for v in service.get("volumes", []))]

    assert holders == ["airflow-scheduler"]


def test_the_database_counts_as_there_when_its_first_start_is_over() -> None:
    """The first start's scripts run on a server that listens on its socket alone: what asks there begins too early."""
    assert SERVICES["postgres"]["healthcheck"]["test"][1:4] == ["pg_isready", "-h", "127.0.0.1"]


def test_steps_may_read_the_data_that_are_put_into_the_folder(prepared: Path) -> None:
    assert (prepared / "data").stat().st_mode & 0o777 == 0o755


def test_the_scheduler_is_in_the_group_of_the_engines_socket(tmp_path: Path, made_site: Callable[..., Path]) -> None:
    engine = tmp_path / "docker.sock"
    engine.touch()
    os.chown(engine, -1, os.getgroups()[-1] if os.getuid() else 4711)

    made = made_site(tmp_path / "site", DOCKER_SOCKET=str(engine))

    lines = (made / "compose" / ".env").read_text().splitlines()
    assert {f"DOCKER_SOCKET={engine}", f"DOCKER_GROUP={engine.stat().st_gid}"} <= set(lines)


def test_variables_of_ours_are_documented() -> None:
    listed = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"PLUMBLINE_[A-Z_]+", (ROOT / "compose.yaml").read_text(encoding="utf-8")))

    assert {name for name in used if f"`{name}`" not in listed} == set()


def test_the_api_server_is_given_a_copy_of_the_logins_that_it_may_open_for_writing(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret is mounted read-only, and Airflow's simple login opens its file to append, whatever is in it."""
    monkeypatch.syspath_prepend(str(prepared / "compose"))
    import api_server

    secret, copy = prepared / "compose" / "secrets" / "airflow_users", prepared / "copy"
    for _ in range(2):
        given = api_server.environment(secret, copy)

    assert SERVICES["airflow-api"]["entrypoint"] == ["python", "/app/infra/compose/api_server.py", "/run/secrets/airflow_users"]
    assert given["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] == str(copy)
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (secret.read_bytes(), 0o600)


@pytest.mark.slow
def test_mlflow_lets_nobody_in_without_a_login(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of compose.yaml, by its own start script, on SQLite in the place of PostgreSQL."""
    monkeypatch.syspath_prepend(str(prepared / "compose"))
    import mlflow_server

    secrets = prepared / "compose" / "secrets"
    monkeypatch.setattr(mlflow_server, "SECRETS", secrets)
    (secrets / "mlflow_database").write_text(f"sqlite:///{prepared}/mlflow.db")
    auth = (secrets / "mlflow_auth").read_text()
    (secrets / "mlflow_auth").write_text(re.sub(r"database_uri = .*", f"database_uri = sqlite:///{prepared}/auth.db", auth))
    words = [
        word.replace("0.0.0.0", "127.0.0.1").replace("/plumbline/artifacts", str(prepared)) for word in mlflow_server.argv(5987)
    ]
    environment = mlflow_server.environment() | {"MLFLOW_AUTH_CONFIG_PATH": str(secrets / "mlflow_auth")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = prepared / "mlflow.log"
    with log.open("wb") as out:
        process = subprocess.Popen([*words, "--workers", "1"], env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        search = "http://127.0.0.1:5987/api/2.0/mlflow/experiments/search?max_results=5"
        limit = time.monotonic() + 120
        while _status("http://127.0.0.1:5987/health", "") != 200:
            assert time.monotonic() < limit, log.read_text()[-2000:]
            time.sleep(0.5)
        password = (prepared / "compose" / "mlflow.env").read_text().split("MLFLOW_TRACKING_PASSWORD=")[1].strip()

        assert _status(search, "") == 401
        assert _status(search, "plumbline:wrong") == 401
        assert _status(search, f"plumbline:{password}") == 200
        assert password not in log.read_text()
    finally:
        from plumbline_airflow import services

        services.end([process])


def _status(address: str, login: str) -> int:
    headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=120) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
