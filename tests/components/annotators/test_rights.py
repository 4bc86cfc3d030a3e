"""An erased person can't be found any more: not in data, not in DVC's cache, not in MLflow. Nothing else changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from components import entrypoint, records
from components.annotators import rights
from components.catalog import Step
from components.errors import ArtifactRefused, DataRefused
from components.testbed.folder import write_world


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / "data", seed=0, size="small")
    return tmp_path / "data"


def _rows(data, table):
    return [json.loads(line) for line in (data / f"{table}.jsonl").read_bytes().splitlines()]


def _save(path, rows):
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))


def _bytes(data):
    return {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def _someone(data):
    return _rows(data, "annotators")[3]["pseudonym"]


def _naming(folder, name):
    return [path for path in folder.rglob("*") if path.is_file() and name.encode() in path.read_bytes()]


def test_unlinking_keeps_the_labels_and_changes_nobody_elses(data, tmp_path):
    name, before = _someone(data), _rows(data, "comparisons")
    others = [row for row in before if row["annotator"] != name]

    report = rights.erase(name, data, labels="unlink", by="Ada, data protection", lineage=None)

    after = _rows(data, "comparisons")
    assert _naming(tmp_path, name) == []
    assert len(after) == len(before)
    assert [row for row in after if row["annotator"] is not None] == others
    unlinked = [row for row in after if row["annotator"] is None]
    assert [row["id"] for row in unlinked] == [row["id"] for row in before if row["annotator"] == name]
    assert all(row["session"] is None for row in unlinked)
    assert report["rows_changed"] == {"annotators": 1, "comparisons": len(unlinked)}
    assert len(_rows(data, "annotators")) == 15


def test_removing_takes_the_labels_too(data, tmp_path):
    name, before = _someone(data), _rows(data, "comparisons")

    rights.erase(name, data, labels="remove", by="Ada", lineage=None)

    assert _rows(data, "comparisons") == [row for row in before if row["annotator"] != name]
    assert _naming(tmp_path, name) == []


def test_the_report_says_what_was_done_and_names_nobody(data, tmp_path):
    name = _someone(data)

    rights.erase(name, data, labels="unlink", by="Ada", lineage=None)

    reports = list((tmp_path / "erasures").iterdir())
    text = reports[0].read_text(encoding="utf-8")
    assert len(reports) == 1
    assert name not in text
    assert json.loads(text)["by"] == "Ada"
    assert "backups" in json.loads(text)["not_covered"]


def test_whoever_is_not_there_is_refused(data):
    with pytest.raises(DataRefused) as refusal:
        rights.erase("ann-nobody", data, labels="unlink", by="Ada", lineage=None)

    assert str(refusal.value) == (
        f"Nobody in {data} or in MLflow has the pseudonym 'ann-nobody'. Check it against annotators.jsonl."
    )


def test_an_empty_pseudonym_is_refused(data):
    before = _bytes(data)

    with pytest.raises(DataRefused, match=r"^The pseudonym to erase is empty\. Give one of annotators\.jsonl\.$"):
        rights.erase("", data, labels="remove", by="Ada", lineage=None)

    assert _bytes(data) == before


@pytest.mark.parametrize("file", ["notes.txt", "prompts.jsonl", "comparisons.jsonl"])
def test_what_can_not_be_mended_stops_the_erasure_before_anything_changes(data, file):
    name = _someone(data)
    with (data / file).open("a", encoding="utf-8") as lines:
        lines.write(f"{name} was ill in May.\n")
    before = _bytes(data)

    with pytest.raises(DataRefused) as refusal:
        rights.erase(name, data, labels="unlink", by="Ada", lineage=None)

    assert str(refusal.value) == (
        f"{file} in {data} would still name the person, where nothing can be mended here. Mend it by hand, then erase; nothing "
        "was changed."
    )
    assert _bytes(data) == before


ROW = {"label": "first", "prompt_id": "p", "responses": ["a", "b"], "session": "morning"}


@pytest.fixture
def lookalikes(tmp_path, monkeypatch):
    """People whose pseudonyms begin alike, and texts with other line separators than the line feed."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    people = ("ann-1", "ann-10", "ann-1-b", "x-ann-1", "7")
    _save(folder / "annotators.jsonl", [{"pseudonym": name, "kind": "human"} for name in people])
    rows = [ROW | {"id": f"c{at}", "annotator": name} for at, name in enumerate(people)]
    _save(
        folder / "comparisons.jsonl", [*rows, ROW | {"id": "c-77", "annotator": None, "responses": ["\u2028\x85\u2029", "7"]}]
    )
    _save(folder / "decisions.jsonl", [{"annotator": name, "decision": "keep", "by": "Bo"} for name in people])
    return folder


@pytest.mark.parametrize("labels", ["unlink", "remove"])
@pytest.mark.parametrize("name", ["ann-1", "ann-10", "ann-1-b", "x-ann-1"])
def test_rows_of_others_keep_their_bytes(lookalikes, name, labels):
    before = {path: path.read_bytes().split(b"\n") for path in lookalikes.iterdir()}

    report = rights.erase(name, lookalikes, labels=labels, by="Ada", lineage=None)

    assert report["rows_changed"] == {"annotators": 1, "comparisons": 1, "decisions": 1}
    for path, lines in before.items():
        own = [line for line in lines if f'"{name}"'.encode() in line]
        after = path.read_bytes().split(b"\n")
        assert len(own) == 1
        assert [line for line in after if line in lines] == [line for line in lines if line not in own]
        assert len(after) == len(lines) - (labels == "remove" or path.stem != "comparisons")


def test_a_short_pseudonym_is_erased_though_texts_hold_its_characters(lookalikes):
    report = rights.erase("7", lookalikes, labels="unlink", by="Ada", lineage=None)

    assert report["rows_changed"] == {"annotators": 1, "comparisons": 1, "decisions": 1}
    assert [row["id"] for row in _rows(lookalikes, "comparisons") if row["annotator"] is None] == ["c4", "c-77"]


def test_a_line_that_is_no_row_stays_as_it_is(lookalikes):
    odd = b'not JSON\n\xff\n[1]\n{"annotator": ["ann-x"], "id": "\\ud800"}\n'
    path = lookalikes / "comparisons.jsonl"
    path.write_bytes(odd + path.read_bytes())

    rights.erase("ann-10", lookalikes, labels="unlink", by="Ada", lineage=None)

    assert path.read_bytes().startswith(odd)


def test_half_a_character_stays_what_it_is(lookalikes):
    path = lookalikes / "comparisons.jsonl"
    path.write_bytes(b'{"annotator": "ann-10", "id": "\\ud800"}\n')

    rights.erase("ann-10", lookalikes, labels="unlink", by="Ada", lineage=None)

    assert path.read_bytes() == b'{"annotator": null, "id": "\\ud800", "session": null}\n'


def test_no_draft_is_left_behind(lookalikes):
    before = sorted(lookalikes.iterdir())

    rights.erase("ann-1", lookalikes, labels="unlink", by="Ada", lineage=None)

    assert sorted(lookalikes.iterdir()) == before


def test_retention_names_whose_time_is_over(data):
    people = list(records.read(data / "annotators.jsonl", records.Annotator))
    people[2] = people[2].model_copy(update={"retained_until": "2026-03-01T00:00:00Z"})
    people[4] = people[4].model_copy(update={"retained_until": "2026-04-01"})
    records.write(data / "annotators.jsonl", people)

    assert rights.past_retention(data, now=datetime(2026, 4, 1, tzinfo=UTC)) == [people[2].pseudonym, people[4].pseudonym]
    assert rights.past_retention(data, now=datetime(2026, 3, 31, 23, 59, tzinfo=UTC)) == [people[2].pseudonym]
    assert rights.past_retention(data, now=datetime(2026, 2, 1, tzinfo=UTC)) == []


def test_the_command_line_erases(data, tmp_path):
    name = _someone(data)
    command = [sys.executable, "-m", "components.annotators", "erase", name, "--by", "Ada", "--data", "data"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert name not in done.stdout
    assert _naming(tmp_path, name) == []


def test_files_that_a_step_takes_away_meanwhile_stop_nothing(tmp_path, monkeypatch):
    """The first look meets a file that is gone by the time it is opened."""
    attempt = tmp_path / "scratch" / "validate" / "one"
    attempt.mkdir(parents=True)
    (attempt / "kept.jsonl").write_text('{"annotator": "ann-somebody"}\n')
    monkeypatch.setenv("PLUMBLINE_SCRATCH", str(tmp_path / "scratch"))
    listed = rights.files_of
    looks = iter([[attempt / "gone.jsonl"]])
    monkeypatch.setattr(rights, "files_of", lambda folder: next(looks, None) or listed(folder))

    assert rights._drop_attempts(rights.Name("ann-somebody")) == 1
    assert not attempt.exists()


TOYS = (
    Step("start", writes=("ground",), reusable=False),
    Step("validate", writes=("annotators", "comparisons")),
    Step("reward", reads=("comparisons",), writes=("reward_adapter",), registers={"reward_adapter": "reward-model"}),
)


@pytest.fixture
def published(data, tmp_path, staged, lineage):
    """The lineage of steps that publish the people of people.txt."""

    def start(context):
        (context.output("ground") / "soil.txt").write_text("dark\n")

    def validate(context):
        for output in ("annotators", "comparisons"):
            (context.output(output) / "people.jsonl").write_bytes((tmp_path / "people.txt").read_bytes())

    def reward(context):
        (context.output("reward_adapter") / "weights.txt").write_text(context.pipeline_run)
        context.tag("reward_adapter", state="active")

    staged(TOYS, {"start": start, "validate": validate, "reward": reward})
    return lineage


def _run(folder, run, *people):
    (folder / "people.txt").write_text("".join(f'{{"annotator": "{name}"}}\n' for name in people))
    codes = [entrypoint.run(step.name, run, fresh=True) for step in TOYS]
    (folder / "people.txt").unlink()
    return codes


def _states(lineage):
    """Pipeline run → whether its reward model is revoked."""
    return {
        lineage.client.get_run(version.run_id).data.tags["plumbline.pipeline_run"]: version.tags.get("plumbline.state")
        == "revoked"
        for version in lineage.client.search_model_versions("name = 'reward-model'")
    }


def test_published_artifacts_go_and_models_trained_on_them_are_revoked(data, tmp_path, published):
    """Two pipeline runs: one on data that name the person, one on data that never did."""
    name = _someone(data)
    assert _run(tmp_path, "with", name) + _run(tmp_path, "without", "ann-other") == [0] * 6

    report = rights.erase(name, data, labels="unlink", by="Ada", lineage=published)

    assert _naming(tmp_path, name) == []
    assert _states(published) == {"with": True, "without": False}
    assert [model["done"] for model in report["models"]] == ["revoked"]
    kept = published.find_output("without", "validate", "annotators")
    assert (published.fetch(kept) / "people.jsonl").read_text() == '{"annotator": "ann-other"}\n'
    assert len(report["artifacts_deleted"]) == 2


def test_the_models_of_the_second_and_third_person_are_found_after_the_artifacts_went(data, tmp_path, published):
    first, second, third = (row["pseudonym"] for row in _rows(data, "annotators")[3:6])
    assert _run(tmp_path, "all", first, second, third) + _run(tmp_path, "two", first, second) == [0] * 6

    reports = [rights.erase(name, data, labels="unlink", by="Ada", lineage=published) for name in (first, second, third)]

    assert [len(report["models"]) for report in reports] == [2, 2, 1]
    assert [len(report["artifacts_deleted"]) for report in reports] == [4, 0, 0]
    for name in (first, second, third):
        assert _naming(tmp_path, name) == []
        person = hashlib.sha256(name.encode()).hexdigest()
        assert [path.parent.name for path in _naming(tmp_path, person)] == ["erasures"]
    with pytest.raises(DataRefused, match=r"^Nobody in"):
        rights.erase(third, data, labels="unlink", by="Ada", lineage=published)


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING"])
def test_what_a_run_published_before_it_died_goes_too(data, tmp_path, published, status):
    name = _someone(data)
    assert _run(tmp_path, "dies", name) == [0, 0, 0]
    dead = published.step_run("dies", "validate").info.run_id
    published.client.update_run(dead, status=status)
    attempt = tmp_path / "scratch" / "validate" / "0123" / "outputs"
    attempt.mkdir(parents=True)
    (attempt / "comparisons.jsonl").write_text(f'{{"annotator": "{name}"}}\n')

    report = rights.erase(name, data, labels="unlink", by="Ada", lineage=published)

    assert _naming(tmp_path, name) == []
    assert len(report["artifacts_deleted"]) == 2
    assert report["attempts_deleted"] == 1


def test_runs_beyond_the_first_page_are_looked_at(data, tmp_path, published, monkeypatch):
    name = _someone(data)
    for run, people in (("with", name), ("one", "ann-x"), ("two", "ann-y")):
        assert _run(tmp_path, run, people) == [0, 0, 0]
    real = published.client.search_runs
    monkeypatch.setattr(published.client, "search_runs", lambda *given, **options: real(*given, **{"max_results": 1} | options))

    report = rights.erase(name, data, labels="unlink", by="Ada", lineage=published)

    assert len(report["artifacts_deleted"]) == 2


def test_messages_that_name_the_person_are_cleared(data, tmp_path, published):
    """As earlier versions wrote them."""
    name = _someone(data)
    assert _run(tmp_path, "old", "ann-other") == [0, 0, 0]
    failed = published.step_run("old", "validate").info.run_id
    published.client.set_tag(
        failed, "plumbline.error", f"DataRefused: comparisons.jsonl:7 names the annotator {name!r}, of whom"
    )

    report = rights.erase(name, data, labels="unlink", by="Ada", lineage=published)

    assert _naming(tmp_path, name) == []
    assert report["messages_cleared"] == [failed]
    assert published.client.get_run(failed).data.tags["plumbline.error"] == "The message named a person who was erased."


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (DataRefused("row 'ann-7' is odd"), "DataRefused: the step's log says why; it may quote data that name people, so it"),
        (KeyError("ann-7"), "KeyError: the step's log says why; it may quote data that name people, so it"),
        (ArtifactRefused("tea is gone."), "ArtifactRefused: tea is gone."),
    ],
)
def test_mlflow_keeps_no_message_that_may_quote_data(data, tmp_path, published, monkeypatch, error, kept):
    def fails(context):
        raise error

    monkeypatch.setattr(sys.modules["components.validate.step"], "run", fails)
    _run(tmp_path, "bad", "ann-7")

    runs = published.client.search_runs([published.experiment], "tags.`plumbline.step` = 'validate'")
    assert [run.data.tags["plumbline.error"] for run in runs] == [kept + (" is not repeated here." if "log" in kept else "")]
