from __future__ import annotations

from components import stepkey
from components.stepkey import code_digest, step_key

SAME = {"settings": {"a": 1}, "seed": 2, "inputs": {"x": "sha256:3"}}


def test_everything_that_shapes_a_result_changes_the_key() -> None:
    keys = {
        step_key("approve", **SAME),
        step_key("deploy", **SAME),
        step_key("approve", **SAME | {"settings": {"a": 2}}),
        step_key("approve", **SAME | {"seed": 3}),
        step_key("approve", **SAME | {"inputs": {"x": "sha256:4"}}),
        step_key("approve", **SAME | {"inputs": {"y": "sha256:3"}}),
    }

    assert len(keys) == 6


def test_the_order_of_settings_does_not_change_the_key() -> None:
    first = step_key("approve", settings={"a": 1, "b": 2}, seed=0, inputs={})
    second = step_key("approve", settings={"b": 2, "a": 1}, seed=0, inputs={})

    assert first == second


def _tree(root, monkeypatch):
    (root / "components" / "approve").mkdir(parents=True)
    (root / "components" / "approve" / "step.py").write_text("from components.near import thing\n")
    (root / "components" / "near.py").write_text("from components import far\n")
    (root / "components" / "far.py").write_text("X = 1\n")
    (root / "components" / "lineage.py").write_text("Y = 1\n")
    (root / "components" / "elsewhere.py").write_text("Z = 1\n")
    monkeypatch.setattr(stepkey, "ROOT", root)
    return root / "components"


def test_code_that_is_imported_indirectly_counts(tmp_path, monkeypatch) -> None:
    folder = _tree(tmp_path, monkeypatch)
    before = code_digest("approve")

    (folder / "far.py").write_text("X = 2\n")

    assert code_digest("approve") != before


def test_code_that_is_not_imported_and_the_wire_do_not_count(tmp_path, monkeypatch) -> None:
    folder = _tree(tmp_path, monkeypatch)
    before = code_digest("approve")

    (folder / "elsewhere.py").write_text("Z = 2\n")
    (folder / "lineage.py").write_text("Y = 2\n")

    assert code_digest("approve") == before
