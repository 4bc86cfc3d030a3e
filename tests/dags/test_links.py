"""The ways from Airflow to the packs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from plumbline_airflow import links

pytestmark = pytest.mark.airflow


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_MLFLOW_UI", "https://mlflow.example")
    monkeypatch.setattr(links.XCom, "get_value", lambda **_: "7 abc")


@pytest.mark.parametrize(
    ("task", "address"),
    [
        ("document", "https://mlflow.example/#/experiments/7/runs/abc/artifacts/outputs/pack/index.html"),
        ("deploy", "https://mlflow.example/#/experiments/7/runs/abc/artifacts/outputs/release/pack/index.html"),
        ("ppo", ""),
    ],
)
def test_the_pack_is_one_click_from_the_task_that_made_it(known: None, task: str, address: str) -> None:
    assert links.PackLink().get_link(SimpleNamespace(task_id=task), ti_key=None) == address


def test_a_task_that_has_not_run_has_no_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    monkeypatch.setattr(links.XCom, "get_value", lambda **_: nothing)

    assert links.PackLink().get_link(SimpleNamespace(task_id="document"), ti_key=None) == ""


def test_the_navigation_leads_to_the_releases_in_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow's API serves it to its UI."""
    from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse

    monkeypatch.setenv("PLUMBLINE_MLFLOW_UI", "https://mlflow.example")

    shown = ExternalViewResponse.model_validate(links.governance())

    assert (shown.name, shown.destination, shown.href) == ("Governance", "nav", "https://mlflow.example/#/models/policy")
