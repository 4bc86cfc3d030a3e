"""From Airflow's UI to MLflow's: a task's run, its governance pack, and the packs of all releases."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

UI = "http://127.0.0.1:5000"


PACKS = {"document": "outputs/pack", "deploy": "outputs/release/pack"}
"""Task → where its run in MLflow keeps the pack."""


class PackLink(BaseOperatorLink):
    """The button "Governance pack" on a task that made one."""

    name = "Governance pack"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Address of the pack's front page; empty, and so no button, where the task makes none or has not yet."""
        known = XCom.get_value(key="mlflow_run", ti_key=ti_key) if operator.task_id in PACKS else None
        if not known:
            return ""
        experiment, _, run = str(known).partition(" ")
        ui = os.environ.get("PLUMBLINE_MLFLOW_UI", UI)
        return f"{ui}/#/experiments/{experiment}/runs/{run}/artifacts/{PACKS[operator.task_id]}/index.html"


class RunLink(BaseOperatorLink):
    """The button "MLflow run" on a task."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002  (Airflow's signature)
        """Address of the run; of the experiments where the task has not logged one yet."""
        ui = os.environ.get("PLUMBLINE_MLFLOW_UI", UI)
        known = XCom.get_value(key="mlflow_run", ti_key=ti_key)
        if not known:
            return f"{ui}/#/experiments"
        experiment, _, run = str(known).partition(" ")
        return f"{ui}/#/experiments/{experiment}/runs/{run}"


def governance() -> dict[str, Any]:
    """The entry "Governance" in Airflow's navigation: the policy's versions in MLflow, each with the link to its pack."""
    ui = os.environ.get("PLUMBLINE_MLFLOW_UI", UI)
    return {"name": "Governance", "href": f"{ui}/#/models/policy", "destination": "nav", "nav_top_level": True}
