"""Where the embedded default keeps its state, and the environment that its processes share. Standard library only."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components import quiet

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The project's folder, with the state in `.plumbline/`."""

    root: Path

    @property
    def state(self) -> Path:
        """Folder of everything a run leaves but releases: databases, artifacts, keys, scratch, logs."""
        return self.root / ".plumbline"

    @property
    def airflow(self) -> Path:
        """Airflow's home."""
        return self.state / "airflow"

    @property
    def releases(self) -> Path:
        """Folder of the releases."""
        return self.root / "releases"

    @property
    def events(self) -> Path:
        """File that tasks tell the terminal through."""
        return self.state / "events.jsonl"

    @property
    def log(self) -> Path:
        """What Airflow and the steps say in full, of `make run`."""
        return self.state / "run.log"

    def environment(self) -> dict[str, str]:
        """Variables of every process of the embedded default. What the user has set stays."""
        state = self.state
        settled = quiet.QUIET | {
            "AIRFLOW_HOME": str(self.airflow),
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.root / "dags"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "360",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "86400",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "12",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "10",
            "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "60",
            "MLFLOW_TRACKING_URI": f"sqlite:///{state}/mlflow.db",
            "PLUMBLINE_ARTIFACTS": str(state / "mlartifacts"),
            "PLUMBLINE_DATA_ROOT": str(self.root),
            "PLUMBLINE_KEYS": str(state / "keys"),
            "PLUMBLINE_RELEASES": str(self.releases),
            "PLUMBLINE_SCRATCH": str(state / "scratch"),
        }
        return settled | dict(os.environ)

    def secret(self, name: str) -> str:
        """A random text that stays the same for this folder; readable by its owner alone."""
        path = self.state / "secrets" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        return path.read_text(encoding="utf-8")
