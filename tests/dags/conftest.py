"""A private Airflow home, set before Airflow is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process with an Airflow of its own, its database migrated."""
    home = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}",
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


@pytest.fixture
def python(airflow_home: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a fresh interpreter with that Airflow."""

    def run(program: str, **variables: str) -> subprocess.CompletedProcess[Any]:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=airflow_home | variables, cwd=ROOT, capture_output=True, text=True, check=False)

    return run
