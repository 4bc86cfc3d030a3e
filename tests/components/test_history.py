"""With what a run is compared: the newest release on other data, on a real MLflow."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from components import history, provenance
from components.catalog import STEPS
from components.errors import ArtifactRefused
from components.lineage import Lineage


@pytest.fixture
def lineage(tmp_path):
    return Lineage(f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "artifacts"))


def _step(lineage, folder, pipeline_run, step, artifact, text, **tags):
    """A finished run of a step that published one artifact of one file."""
    work = folder / f"{pipeline_run}-{step}"
    (work / "out").mkdir(parents=True)
    (work / "beside").mkdir()
    (work / "out" / "file.txt").write_text(text)
    run = lineage.open_step(pipeline_run, step, f"{pipeline_run}-{step}", {})
    files = provenance.file_digests(work / "out")
    item = lineage.publish(run, STEPS[step], artifact, work / "out", files, provenance.listing_digest(files))
    (work / "beside" / "manifest.json").write_text(json.dumps({"outputs": {artifact: asdict(item)}}))
    lineage.log_files(run, work / "beside")
    lineage.finish(run, tags)
    return item


def _pipeline(lineage, folder, name, data, *, deploy=True, **tags):
    lineage.open_pipeline(name, {}, {})
    _step(lineage, folder, name, "start", "data_version", data)
    item = _step(lineage, folder, name, "validate", "comparisons", f"labels of {data}")
    if deploy:
        _step(lineage, folder, name, "deploy", "release", "released", **tags)
    return item


def test_a_run_is_compared_with_the_newest_release_on_other_data(lineage, tmp_path):
    """One and two were released, on data A and B; three was not; now is on B like two, so it is compared with one."""
    _pipeline(lineage, tmp_path, "one", "A")
    _pipeline(lineage, tmp_path, "two", "B")
    _pipeline(lineage, tmp_path, "three", "C", deploy=False)
    _pipeline(lineage, tmp_path, "refused", "D", **{"plumbline.gate_failed": "the approver said no"})
    for name, data in (("now", "B"), ("later", "E")):
        lineage.open_pipeline(name, {}, {})
        _step(lineage, tmp_path, name, "start", "data_version", data)

    found, items = history.reference(lineage, "now", ["comparisons"])
    later, _ = history.reference(lineage, "later", ["comparisons"])

    assert found.pipeline_run == "one"
    assert (found.paths["comparisons"] / "file.txt").read_text() == "labels of A"
    assert found.digests["comparisons"] == items["comparisons"].digest
    assert later.pipeline_run == "two"


def test_the_first_release_is_compared_with_nothing(lineage, tmp_path):
    _pipeline(lineage, tmp_path, "one", "A")

    assert history.reference(lineage, "one", ["comparisons"]) == (None, {})


def test_what_was_withdrawn_is_not_compared_with(lineage, tmp_path):
    item = _pipeline(lineage, tmp_path, "one", "A")
    lineage.open_pipeline("now", {}, {})
    _step(lineage, tmp_path, "now", "start", "data_version", "B")

    lineage.withdraw(item, at="2026-11-21T12:00:00+00:00")

    found, items = history.reference(lineage, "now", ["comparisons"])
    assert (found.pipeline_run, dict(found.paths), items) == ("one", {}, {})
    assert lineage.client.get_run(item.run).data.tags["plumbline.withdrawn.comparisons"] == "2026-11-21T12:00:00+00:00"
    assert "plumbline.step_key" not in lineage.client.get_run(item.run).data.tags
    assert "labels of A" not in {path.read_text() for path in (tmp_path / "artifacts").rglob("file.txt")}


def test_a_reference_that_was_edited_is_refused(lineage, tmp_path):
    item = _pipeline(lineage, tmp_path, "one", "A")
    lineage.open_pipeline("now", {}, {})
    _step(lineage, tmp_path, "now", "start", "data_version", "B")
    (lineage.fetch(item) / "file.txt").write_text("edited")

    with pytest.raises(ArtifactRefused, match=r"^comparisons has digest sha256:\w+, its writer `validate` recorded"):
        history.reference(lineage, "now", ["comparisons"])
