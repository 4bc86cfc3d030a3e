"""What `document` is told of the release before, when parts of it are gone; and a server that goes away meanwhile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components import history
from components.catalog import STEPS
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from conftest import Toys

AWAY = "API request failed with exception HTTPConnectionPool: Max retries exceeded"


def _released(toys: Toys) -> tuple[Any, str]:
    """The toys' registered version, released."""
    lineage = toys.lineage
    lineage.move("policy", "champion", "1")
    return lineage, "1"


@pytest.fixture
def order(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ORDER", tuple(STEPS.values()))


@pytest.mark.usefixtures("order")
def test_the_release_before_is_shown_and_one_that_was_deleted_is_not(toys: Toys) -> None:
    assert toys.run_all() == [0, 0, 0]
    lineage, version = _released(toys)

    files, told = history.gathered(lineage, "run-2", STEPS["brew"], {"policy": "7"})
    assert (told["previous"], json.loads(files["previous/brew.json"].read_text())["step"]) == (version, "brew")

    lineage.client.delete_model_version("policy", version)
    files, told = history.gathered(lineage, "run-2", STEPS["brew"], {"policy": "7"})
    assert (told["previous"], sorted(files)) == ("", [])


@pytest.mark.usefixtures("order")
def test_a_champion_whose_run_was_deleted_is_named_with_what_to_do(toys: Toys) -> None:
    assert toys.run_all() == [0, 0, 0]
    lineage, _ = _released(toys)
    made = lineage.step_run("run-1", "brew")
    shutil.rmtree(Path(made.info.artifact_uri.removeprefix("file://")))

    with pytest.raises(ArtifactRefused, match=r"evidence\.json of run \w+ is not in the artifact store"):
        history.gathered(lineage, "run-2", STEPS["brew"], {"policy": "7"})


@pytest.mark.usefixtures("order")
def test_a_champion_whose_run_was_purged_is_named_with_what_to_do(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    assert toys.run_all() == [0, 0, 0]
    lineage, version = _released(toys)

    def purged(run_id: str) -> None:
        message = f"Run '{run_id}' not found"
        raise MlflowException(message, error_code=RESOURCE_DOES_NOT_EXIST)

    monkeypatch.setattr(lineage.client, "get_run", purged)

    with pytest.raises(ArtifactRefused, match=rf"policy version {version} was made by run \w+, which was deleted\. Restore"):
        history.gathered(lineage, "run-2", STEPS["brew"], {"policy": "7"})


def test_a_champion_without_files_is_refused_and_a_server_that_is_away_is_not_no_champion(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a candidate would be compared with the SFT policy because a request was lost."""
    from mlflow.exceptions import MlflowException

    assert toys.run_all() == [0, 0, 0]
    lineage, _ = _released(toys)
    assert lineage.resolve("policy", "previous") is None
    assert lineage.resolve("nothing", "champion") is None

    version = lineage.client.create_model_version("policy", source=str(toys.folder / "gone"), run_id="r")
    lineage.move("policy", "champion", str(version.version))
    with pytest.raises(ArtifactRefused, match=r"policy version 2 \(champion\) has no files any more\. Restore them, or take"):
        lineage.resolve("policy", "champion")

    def away(*_: object) -> None:
        raise MlflowException(AWAY)

    monkeypatch.setattr(lineage.client, "get_model_version_by_alias", away)
    with pytest.raises(MlflowException, match="Max retries"):
        lineage.resolve("policy", "champion")


@pytest.mark.parametrize("at", ["find_output", "open_step", "publish"])
def test_a_step_that_loses_its_server_halfway_is_to_be_tried_again_and_then_goes_through(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: str
) -> None:
    from mlflow.exceptions import MlflowException

    from components.lineage import Lineage

    assert [toys.run("start"), toys.run("grow")] == [0, 0]

    def away(*_: object, **__: object) -> None:
        raise MlflowException(AWAY)

    with monkeypatch.context() as patch:
        patch.setattr(Lineage, at, away)
        assert toys.run("brew") == 75

    assert "does not answer: API request failed" in capsys.readouterr().err
    assert toys.lineage.step_run("run-1", "brew") is None
    assert toys.run("brew") == 0
