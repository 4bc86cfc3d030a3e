"""A server that goes away while an artifact is fetched is no missing artifact."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components import lineage as module
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from conftest import Toys


def _tea(toys: Toys) -> tuple[Any, Any]:
    assert toys.run_all() == [0, 0, 0]
    found = toys.lineage()
    return found, found.outputs(found.step_run("run-1", "brew"))["tea"]


def test_a_download_that_broke_off_is_tried_once_more(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage, tea = _tea(toys)
    real, calls = module.download_artifacts, []

    def breaks_once(**options: Any) -> str:
        calls.append(options)
        if len(calls) == 1:
            message = "Connection broken"
            raise ConnectionError(message)
        return str(real(**options))

    monkeypatch.setattr(module, "download_artifacts", breaks_once)

    assert (lineage.fetch(tea) / "tea.txt").is_file()
    assert len(calls) == 2


def test_a_server_that_is_away_says_nothing_about_an_artifact(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the step is to be tried again (75), and not refused for ever (65)."""
    lineage, tea = _tea(toys)

    def away(*_: Any, **__: Any) -> None:
        message = "Connection refused"
        raise ConnectionError(message)

    monkeypatch.setattr(module, "download_artifacts", away)
    monkeypatch.setattr(lineage.client, "get_experiment", away)

    with pytest.raises(ConnectionError):
        lineage.fetch(tea)


def test_an_artifact_that_is_gone_is_refused(toys: Toys) -> None:
    lineage, tea = _tea(toys)
    shutil.rmtree(Path(tea.uri.removeprefix("file://")))

    with pytest.raises(ArtifactRefused, match=r"tea of run .* is not in the artifact store"):
        lineage.fetch(tea)
