"""With what a run is compared: the newest release on other data, on a real MLflow."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from components import history, provenance
from components.catalog import STEPS, Step
from components.errors import ArtifactRefused
from components.lineage import Lineage

RELEASED = Step("asks", compares=("comparisons",))
ACCEPTED = Step("asks", compares=("comparisons",), compares_accepted=True)


@pytest.fixture
def lineage(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # where MLflow's registry looks for a version's model
    return Lineage(uri, artifacts=str(tmp_path / "artifacts"))


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

    found, items = history.reference(lineage, "now", RELEASED)
    later, _ = history.reference(lineage, "later", RELEASED)

    assert found.pipeline_run == "one"
    assert (found.paths["comparisons"] / "file.txt").read_text() == "labels of A"
    assert found.digests["comparisons"] == items["comparisons"].digest
    assert later.pipeline_run == "two"


def test_data_are_compared_with_those_accepted_last_released_or_not(lineage, tmp_path):
    """C was accepted after B was released; now is on D, refused before by validate, so that it finished in no run."""
    _pipeline(lineage, tmp_path, "one", "A")
    _pipeline(lineage, tmp_path, "two", "B")
    _pipeline(lineage, tmp_path, "three", "C", deploy=False)
    for name, data in (("now", "D"), ("again", "C")):
        lineage.open_pipeline(name, {}, {})
        _step(lineage, tmp_path, name, "start", "data_version", data)

    found, items = history.reference(lineage, "now", ACCEPTED)
    again, _ = history.reference(lineage, "again", ACCEPTED)

    assert found.pipeline_run == "three"
    assert found.digests["comparisons"] == items["comparisons"].digest
    assert again.pipeline_run == "two", "the same data are compared with what they were compared with at first"


def test_the_first_release_is_compared_with_nothing(lineage, tmp_path):
    _pipeline(lineage, tmp_path, "one", "A")

    assert history.reference(lineage, "one", RELEASED) == (None, {})


def test_what_was_withdrawn_is_not_compared_with(lineage, tmp_path):
    item = _pipeline(lineage, tmp_path, "one", "A")
    lineage.open_pipeline("now", {}, {})
    _step(lineage, tmp_path, "now", "start", "data_version", "B")

    lineage.withdraw(item, at="2026-11-21T12:00:00+00:00")

    found, items = history.reference(lineage, "now", RELEASED)
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
        history.reference(lineage, "now", RELEASED)


def _policy(lineage, folder, name, data, evaluation):
    """A released pipeline run with a policy and its evaluation."""
    _pipeline(lineage, folder, name, data, deploy=False)
    policy = _step(lineage, folder, name, "ppo", "policy_adapter", f"weights of {data}")
    run = lineage.client.get_run(policy.run)
    lineage.register(run, {"policy_adapter": policy}, {})
    made = _step(lineage, folder, name, "evaluate", "evaluation", evaluation)
    _step(lineage, folder, name, "deploy", "release", "released")
    return policy, made


def test_a_step_looks_back_at_the_last_releases_but_not_at_its_own_policy(lineage, tmp_path, monkeypatch):
    """One to four were released, two twice; three of other weights are asked for, oldest first."""
    monkeypatch.setattr(history, "LAST", 2)
    for name, data in (("one", "A"), ("two", "B"), ("three", "C"), ("again", "B")):
        policy, _ = _policy(lineage, tmp_path, name, data, f"report of {name}")

    found = history.releases(lineage, "evaluation", but="sha256:none")
    others = history.releases(lineage, "evaluation", but=policy.digest)

    assert [(each.version, (each.path / "file.txt").read_text()) for each in found] == [
        ("3", "report of three"),
        ("4", "report of again"),
    ]
    assert [each.version for each in others] == ["1", "3"]


def test_a_release_whose_evaluation_was_edited_or_withdrawn_is_named_and_not_handed_over(lineage, tmp_path):
    _, edited = _policy(lineage, tmp_path, "one", "A", "fine")
    _, withdrawn = _policy(lineage, tmp_path, "two", "B", "fine")
    (lineage.fetch(edited) / "file.txt").write_text("better")
    lineage.withdraw(withdrawn, at="2026-11-21T12:00:00+00:00")

    one, two = history.releases(lineage, "evaluation", but="")

    assert (one.path, two.path) == (None, None)
    assert one.problem.startswith("evaluation has digest sha256:")
    assert two.problem == "its evaluation was withdrawn"
    assert [each.artifact_digest for each in (one, two)] == [edited.digest, ""]


def test_tables_of_people_are_compared_with_those_of_every_earlier_run_drafts_included(lineage, tmp_path):
    """Two runs of `reward` published the same, a third another; the run that asks and one that is at work don't count."""
    for name, text in (("one", "A"), ("two", "A"), ("three", "B"), ("now", "C")):
        lineage.open_pipeline(name, {}, {})
        _step(lineage, tmp_path, name, "reward", "shown_contributors", text)
    lineage.open_pipeline("working", {}, {})
    lineage.open_step("working", "reward", "working-reward", {})

    found = history.earlier(lineage, "shown_contributors", but="now-reward")

    assert sorted((path / "file.txt").read_text() for path in found) == ["A", "B"]


def test_a_step_is_given_what_earlier_runs_published_of_what_it_remembers(toys, monkeypatch):
    """The second brewing takes longer, so it has another step key and sees the first; run again, it sees that alone."""
    STEPS["brew"] = replace(STEPS["brew"], remembers="tea")  # `toys` puts back what was there
    seen = []
    toys.before_brewing = lambda context: seen.append([(path / "tea.txt").read_text() for path in context.earlier])

    assert toys.run_all("run-1") == [0, 0, 0]
    monkeypatch.setenv("PLUMBLINE_PARAMS", json.dumps({"brew.minutes": 4}))
    assert toys.run_all("run-2") == [0, 0, 0]
    assert toys.run("brew", "run-2", fresh=True) == 0

    first = "3.0 minutes of green on dark\n"
    assert seen == [[], [first], [first]]
