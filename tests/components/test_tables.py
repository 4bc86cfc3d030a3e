"""Tables that a step wrote are tables for MLflow too."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest
    from conftest import Toys


def test_mlflow_loads_and_lists_the_tables_of_a_step(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(context: Any) -> None:
        folder = context.output("leaf")
        (folder / "leaf.txt").write_text("green")
        (folder / "tables").mkdir()
        (folder / "tables" / "gates.json").write_text('{"columns": ["name", "value"], "data": [["words", 1.25]]}')

    monkeypatch.setattr(sys.modules["components.grow.step"], "run", grow)
    assert [toys.run("start"), toys.run("grow")] == [0, 0]

    lineage = toys.lineage
    run = lineage.step_run("run-1", "grow")
    table = lineage.client.load_table(lineage.experiment, "outputs/leaf/tables/gates.json", run_ids=[run.info.run_id])

    assert table[["name", "value"]].to_numpy().tolist() == [["words", 1.25]]
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "outputs/leaf/tables/gates.json", "type": "table"}]
    assert "mlflow.loggedArtifacts" not in lineage.step_run("run-1", "start").data.tags
