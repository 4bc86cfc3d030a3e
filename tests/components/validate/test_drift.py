"""Drift between two versions of the small testbed."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from components import quiet
from components.testbed.folder import write_world
from components.validate import drift

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

quiet.settle()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "data"
    write_world(folder, seed=0, size="small")
    return folder


def _tables(folder: Path) -> dict[str, Path]:
    return {table: folder / f"{table}.jsonl" for table in drift.TABLES}


def _changed(world: Path, folder: Path, change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> dict[str, Path]:
    for table, path in _tables(world).items():
        rows = [change(table, json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return _tables(folder)


def test_a_version_does_not_drift_from_itself(world: Path) -> None:
    found = drift.compare(_tables(world), _tables(world))

    assert set(found.values()) == {0.0}
    assert {"comparisons_label", "comparisons_annotator", "prompts_kind", "comparisons_response_characters"} <= set(found)


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("comparisons_label", lambda row: row | {"label": "tie"}),
        ("comparisons_annotator", lambda row: row | {"annotator": "one-and-the-same"}),
        (
            "comparisons_response_words",
            lambda row: row | {"responses": [f"{text} and so on, I think" for text in row["responses"]]},
        ),
    ],
)
def test_what_changed_drifts_and_nothing_else_does(
    world: Path, tmp_path: Path, feature: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    dice = random.Random(2)
    now = _changed(world, tmp_path, lambda table, row: change(row) if table == "comparisons" and dice.random() < 0.7 else row)

    found = drift.compare(now, _tables(world))

    drifted = {name for name, value in found.items() if value > 0.1}
    assert feature in drifted
    assert drifted <= {feature, "comparisons_response_characters", "comparisons_response_words"}


def test_features_that_one_version_lacks_are_left_out(world: Path, tmp_path: Path) -> None:
    now = _changed(world, tmp_path, lambda table, row: row | {"annotator": None} if table == "comparisons" else row)

    found = drift.compare(now, _tables(world))

    assert "comparisons_annotator" not in found
    assert "comparisons_label" in found


def test_of_a_large_table_rows_are_taken_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "MOST_ROWS", 4)
    (tmp_path / "rows.jsonl").write_text("".join(f"{row}\n" for row in range(10)))

    assert [line.strip() for line in drift._spread(tmp_path / "rows.jsonl")] == ["0", "3", "6", "9"]
