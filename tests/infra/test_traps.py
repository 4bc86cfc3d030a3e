"""Settings without which Airflow 3.3 loses work, alike in the three places where they stand.

Measured: with its defaults it kills healthy steps after 35 s without an API server, a task whose DAG file takes 30 s to read
costs a try, and a task in a pool that does not exist waits for ever.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from plumbline_airflow import services
from plumbline_airflow.home import Home

ROOT = Path(__file__).resolve().parents[2]
PATIENT = {
    ("core", "dagbag_import_timeout"): "300",
    ("core", "dags_are_paused_at_creation"): "False",
    ("core", "load_examples"): "False",
    ("dag_processor", "dag_file_processor_timeout"): "360",
    ("execution_api", "jwt_expiration_time"): "86400",
    ("workers", "execution_api_retries"): "12",
    ("workers", "execution_api_retry_wait_max"): "10",
    ("workers", "max_failed_heartbeats"): "60",
}
SHORTENED = ("orphaned_tasks_check_interval", "scheduler_health_check_threshold", "task_instance_heartbeat_timeout")
"""Short, they end long trainings when a scheduler restarts."""


def _compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())["services"])


def _values() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "infra" / "kubernetes" / "airflow" / "values.yaml").read_text()))


def _settings(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """(section, option) → value of Airflow's settings in one of the places."""
    if place == "kubernetes":
        return {(section, name): str(value) for section, table in _values()["config"].items() for name, value in table.items()}
    for name in [name for name in os.environ if name.startswith("AIRFLOW__")]:
        monkeypatch.delenv(name)
    variables = Home(folder).environment() if place == "process" else _compose()["airflow-scheduler"]["environment"]
    parts = {name: name.lower().split("__", 2)[1:] for name in variables if name.startswith("AIRFLOW__")}
    return {(section, option): str(variables[name]) for name, (section, option) in parts.items()}


@pytest.mark.parametrize("place", ["process", "compose", "kubernetes"])
def test_a_pause_of_the_api_server_ends_no_step_and_nothing_is_shortened(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _settings(place, tmp_path, monkeypatch)

    assert {key: found.get(key) for key in PATIENT} == PATIENT
    assert [key for key in found if key[1] in SHORTENED] == []


@pytest.mark.parametrize("place", ["process", "compose"])
def test_few_workers_start_and_none_waits_for_long(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 workers would be started at once, and a finished task would wait a second for the next. A cluster's are pods."""
    found = _settings(place, tmp_path, monkeypatch)

    assert (found[("core", "parallelism")], found[("scheduler", "scheduler_idle_sleep_time")]) == ("4", "0.1")


def test_the_pool_of_training_steps_is_made_wherever_airflow_starts() -> None:
    migration = (ROOT / "infra" / "compose" / "migrate.py").read_text()
    assert '["pools", "set", "gpu", "1"' in migration
    assert _compose()["migrate"]["entrypoint"] == ["python", "/app/infra/compose/migrate.py"]
    job = _values()["migrateDatabaseJob"]
    assert job["command"] + job["args"] == ["python", "/app/infra/compose/migrate.py"]


def test_no_component_serves_logs_to_the_network() -> None:
    """Ports 8793 and 8794 listen on every address, and no setting changes that."""
    assert [words for words in services.COMPONENTS.values() if words[0] in {"scheduler", "triggerer"}] == [
        ["scheduler", "--skip-serve-logs"],
        ["triggerer", "--skip-serve-logs"],
    ]
    for name in ("scheduler", "triggerer"):
        assert "--skip-serve-logs" in _compose()[f"airflow-{name}"]["command"]
