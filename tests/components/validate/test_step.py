from __future__ import annotations

import json
import re
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from components import quiet
from components.catalog import STEPS
from components.context import Context, Reference
from components.errors import DataRefused
from components.provenance import file_digest, folder_digest
from components.testbed.folder import write_world
from components.validate import expectations, step
from components.validate.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Context[Settings]]

quiet.settle()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "data"
    write_world(folder, seed=0, size="small")
    return folder


@pytest.fixture
def make(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a context on a copy of the world, as `start` recorded it after `damage`."""
    monkeypatch.setenv("PLUMBLINE_DATA_ROOT", str(tmp_path))
    data = tmp_path / "data"

    def context(name: str = "one", damage: Callable[[Path], None] | None = None, **settings: Any) -> Context[Settings]:
        data.mkdir(exist_ok=True)
        for path in sorted(world.glob("*.jsonl")):
            (data / path.name).write_bytes(path.read_bytes())
        (data / "guidelines").mkdir(exist_ok=True)
        for version in ("v1", "v2"):
            (data / "guidelines" / f"{version}.md").write_text("Be honest.\n")
        if damage:
            damage(data)
        files = {
            path.relative_to(data).as_posix(): {"sha256": file_digest(path), "bytes": path.stat().st_size}
            for path in sorted(data.rglob("*"))
            if path.is_file()
        }
        version = {"folder": "data", "pin": "data.dvc", "md5": "0.dir", "files": files}
        (tmp_path / name / "data_version").mkdir(parents=True)
        (tmp_path / name / "data_version" / "data_version.json").write_text(json.dumps(version))
        return Context(
            step=STEPS["validate"],
            config=Settings(**settings),
            seed=1,
            inputs={"data_version": tmp_path / name / "data_version"},
            scratch=tmp_path / name / "scratch",
            checkpoints=tmp_path / name / "checkpoints",
        )

    return context


def _append(table: str, *lines: str) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        with (data / f"{table}.jsonl").open("a") as file:
            file.writelines(line + "\n" for line in lines)

    return damage


def test_good_data_is_published_as_it_is_with_pages_and_counts(make: Make, world: Path) -> None:
    context = make()

    step.run(context)

    out = context.scratch / "outputs"
    assert sorted(path.name for path in out.iterdir()) == sorted(STEPS["validate"].writes)
    for table in ("prompts", "annotators", "comparisons", "corpus", "demonstrations", "golden"):
        before, after = world / f"{table}.jsonl", out / table / f"{table}.jsonl"
        assert [json.loads(line) for line in after.read_text().splitlines()] == [
            json.loads(line) for line in before.read_text().splitlines()
        ]
    counts = json.loads((out / "quarantine" / "counts.json").read_text())
    assert all(count["rows"] == count["accepted"] + count["quarantined"] for count in counts.values())
    assert context.measurements["prompts_accepted"].value == counts["prompts"]["rows"] > 0
    # printf 'Be honest.\n' | sha256sum
    digest = "sha256:687ba039c1becab16282824647c7df026d64b064808c7a5bd45d26b4cb3be6d6"
    assert context.facts["guideline_digests"] == {"guidelines/v1.md": digest, "guidelines/v2.md": digest}
    assert set(context.gaps) == {"drift", "drift_compared_with"}, "nothing was released before"


def test_the_same_data_gives_the_same_bytes_pages_included(make: Make) -> None:
    first, second = make("one"), make("two")

    step.run(first)
    step.run(second)

    for name in STEPS["validate"].writes:
        assert folder_digest(first.output(name)) == folder_digest(second.output(name)), name


def test_pages_run_no_script_and_load_nothing(make: Make) -> None:
    context = make()

    step.run(context)

    pages = sorted(context.output("data_docs").rglob("*.html"))
    assert len(pages) == 13  # the index; a suite and a result for each of six tables
    for page in pages:
        text = page.read_text()
        assert not re.search(r"<script|<link|<img|<iframe|url\(|\son\w+=", text), page
        assert "default-src 'none'" in text
        for link in re.findall(r'href="([^"#]+)"', text):
            assert link.startswith("https://docs.greatexpectations.io") or (page.parent / link).is_file(), (page, link)


def test_nothing_is_left_in_the_folder_for_temporary_files(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    step.run(make())

    assert list((tmp_path / "temporary").iterdir()) == []


def test_bad_rows_are_kept_with_table_line_rule_and_reason(make: Make) -> None:
    context = make(damage=_append("prompts", "{oops"))

    step.run(context)

    lines = (context.output("quarantine") / "quarantine.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    assert len(lines) == 1
    assert row.pop("line") == context.measurements["prompts_accepted"].value + 1
    assert (row["table"], row["rule"], row["row"]) == ("prompts", "schema", "{oops")
    assert context.facts["quarantine_rules"] == {"schema": 1}


def test_how_many_annotators_there_are_is_not_told_exactly(make: Make) -> None:
    """One bad row among those of people: neither is it counted, nor by which rule it went; all others are."""
    context = make(damage=_append("annotators", "{oops"), max_quarantined_share=0.1)

    step.run(context)

    counts = json.loads((context.output("quarantine") / "counts.json").read_text())["annotators"]
    assert counts["quarantined"] == 1
    accepted = context.measurements["annotators_accepted"]
    assert accepted.value == counts["accepted"] // 5 * 5
    assert (accepted.unit, accepted.n) == ("people, rounded down", None)
    assert context.gaps["annotators_quarantined"].startswith("some, but fewer than 5 people")
    assert context.facts["quarantine_rules"] == {}
    assert context.facts["annotator_kinds"] == {"simulated": "some or all"}
    assert "annotators" not in context.measurements
    assert "annotators" not in context.facts["table_files"]


def test_a_table_with_too_many_bad_rows_is_refused(make: Make) -> None:
    context = make(damage=_append("annotators", *["{"] * 3), max_quarantined_share=0.01)
    total = len((context.inputs["data_version"].parents[1] / "data" / "annotators.jsonl").read_text().splitlines())
    reasons = "; ".join(
        f"annotators.jsonl:{number} is not JSON: Expecting property name enclosed in double quotes at column 2. "
        "Mend or remove the line."
        for number in range(total - 2, total + 1)
    )

    with pytest.raises(DataRefused) as refusal:
        step.run(context)

    assert str(refusal.value) == (
        f"3 of {total} rows of annotators.jsonl can't be used, more than validate.max_quarantined_share = 0.01 allows. "
        f"The first are: {reasons}"
    )


def test_files_that_changed_went_or_came_after_start_are_refused_and_named(make: Make, tmp_path: Path) -> None:
    context = make()
    _append("prompts", "{}")(tmp_path / "data")
    (tmp_path / "data" / "golden.jsonl").unlink()
    (tmp_path / "data" / "late.jsonl").write_text("{}\n")

    with pytest.raises(DataRefused) as refusal:
        step.run(context)

    assert str(refusal.value) == (
        f"{tmp_path}/data is not what `start` recorded for this run: golden.jsonl is gone, late.jsonl is new, "
        "prompts.jsonl changed. `dvc checkout data.dvc` brings the recorded data back; for the new data run `dvc add data` "
        "and start a new run."
    )


def test_a_folder_that_is_gone_is_refused(make: Make, tmp_path: Path) -> None:
    context = make()
    (tmp_path / "data").rename(tmp_path / "elsewhere")

    with pytest.raises(DataRefused, match=r"data is not what `start` recorded for this run: annotators\.jsonl is gone, "):
        step.run(context)


def test_data_that_changes_while_it_is_read_is_refused(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, judge = make(), step.rows.judge

    def change_meanwhile(folder: Path, **options: int) -> Any:
        _append("prompts", "{}")(folder)
        return judge(folder, **options)

    monkeypatch.setattr(step.rows, "judge", change_meanwhile)

    with pytest.raises(DataRefused, match=r"recorded for this run: prompts\.jsonl changed\."):
        step.run(context)


def test_a_table_that_must_not_be_empty_is_refused(make: Make) -> None:
    context = make(damage=lambda data: (data / "demonstrations.jsonl").unlink())

    with pytest.raises(DataRefused) as refusal:
        step.run(context)

    assert str(refusal.value) == (
        "demonstrations.jsonl has no usable row. A run needs prompts, demonstrations, comparisons and a corpus."
    )


def test_a_source_without_golden_pairs_and_annotators_leaves_gaps(make: Make) -> None:
    def damage(data: Path) -> None:
        (data / "golden.jsonl").write_text("")
        (data / "annotators.jsonl").write_text("")
        rows = [json.loads(line) | {"annotator": None} for line in (data / "comparisons.jsonl").read_text().splitlines()]
        (data / "comparisons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    context = make(damage=damage)

    step.run(context)

    assert context.gaps == {
        "golden": "the source has no pairs of which the better one is known",
        "annotators": "the source does not say who the annotators are",
        **dict.fromkeys(("drift", "drift_compared_with"), step.NO_EARLIER),
    }
    assert (context.output("golden") / "golden.jsonl").read_text() == ""


def test_accepted_rows_that_break_an_expectation_are_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    settings = {"column": "split", "value_set": ["train", "holiday"]}
    suite = {"table": "prompts", "expectations": [{"type": "ExpectColumnDistinctValuesToContainSet", "settings": settings}]}
    (suites / "prompts.json").write_text(json.dumps(suite))
    monkeypatch.setattr(expectations, "SUITES", suites)

    with pytest.raises(DataRefused) as refusal:
        step.run(make())

    assert str(refusal.value) == (
        "Accepted rows break 1 of 1 expectations: prompts.jsonl > split: expect_column_distinct_values_to_contain_set "
        "value_set train, holiday, found missing holiday. Mend the data; if the data are right, change the limit in the "
        "section validate of the configuration, or the expectation in components/validate/suites."
    )


FOX = "Tell me why the quick brown fox jumps over the lazy dog near the old river bank today"
"""Eighteen words, sixteen threes. With another last word fifteen are shared: 15 / 17 = 0.882."""


def _prompt(name: str, split: str, text: str) -> str:
    row = {"id": name, "kind": "fact", "split": split, "messages": [{"role": "user", "content": text}], "truth": None}
    return json.dumps(row)


def test_prompts_that_are_nearly_the_same_in_two_splits_are_counted_and_listed(make: Make) -> None:
    context = make(
        damage=_append("prompts", _prompt("t1", "train", FOX), _prompt("e1", "evaluation", FOX.replace("today", "again")))
    )

    step.run(context)

    lines = (context.output("quarantine") / "near_duplicates.jsonl").read_text().splitlines()
    found = {row["prompt"]: row for row in map(json.loads, lines)}
    assert [*found["e1"].values()] == ["t1", "train", "e1", 0.8824, "evaluation"]
    assert context.measurements["near_duplicates"].value == len(lines)
    assert "quick" not in "".join(lines)


def test_too_many_prompts_that_are_nearly_the_same_are_refused(make: Make) -> None:
    context = make(
        damage=_append("prompts", _prompt("t1", "train", FOX), _prompt("e1", "evaluation", FOX.replace("today", "again"))),
        max_near_duplicates=0.0,
        near_duplicate=0.88,
    )

    with pytest.raises(DataRefused) as refused:
        step.run(context)

    assert re.search(
        r"prompts\.jsonl > near_duplicate: expect_column_mean_to_be_between max_value 0\.0, found 0\.\d+ "
        r"\(.*e1 \(evaluation\) and t1 \(train\).*\)\. Mend the data; if the data are right, change the limit",
        str(refused.value),
    )


SECRET = "ann.miller@mail-box.co.uk"


def test_personal_data_are_counted_and_located_but_never_copied(make: Make) -> None:
    """The text itself stays in its table; no fact, no measurement, no list and no page holds what was found in it."""
    context = make(damage=_append("prompts", _prompt("t1", "train", f"Write to {SECRET} or +49 30 901820, will you?")))

    step.run(context)

    lines = (context.output("quarantine") / "personal_data.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"table": "prompts", "id": "t1", "part": 0, "kind": "email", "start": 9, "end": 34},
        {"table": "prompts", "id": "t1", "part": 0, "kind": "telephone", "start": 38, "end": 51},
    ]
    assert context.measurements["personal_data"].value == 1
    assert context.facts["personal_data_kinds"] == {"email": 1, "telephone": 1}
    assert SECRET not in json.dumps([context.facts, context.gaps])
    holding = [path for path in (context.scratch / "outputs").rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert [path.name for path in holding] == ["prompts.jsonl"]


def test_too_much_personal_data_is_refused_without_naming_it(make: Make) -> None:
    context = make(damage=_append("prompts", _prompt("t1", "train", f"Write to {SECRET}.")), max_personal_data=0.0)

    with pytest.raises(DataRefused) as refused:
        step.run(context)

    assert re.search(
        r"break 1 of \d+ expectations: prompts\.jsonl > has_personal_data: expect_column_mean_to_be_between max_value 0\.0, "
        r"found 0\.\d+ \(t1: email\)\. ",
        str(refused.value),
    )


def _after(context: Context[Settings], before: Context[Settings]) -> Context[Settings]:
    paths = {table: before.output(table) for table in ("comparisons", "prompts")}
    context.reference = Reference("run-before", paths, {table: folder_digest(path) for table, path in paths.items()})
    return context


def _many_ties(data: Path) -> None:
    """Every other label; more would be refused for that alone."""
    path = data / "comparisons.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[::2] = [re.sub(r'"label": "(first|second)"', '"label": "tie"', line) for line in lines[::2]]
    path.write_text("".join(lines))


def test_the_first_version_is_compared_with_nothing_and_says_so(make: Make) -> None:
    context = make()

    step.run(context)

    assert context.gaps["drift"] == "no other version of the data was accepted before, so there is nothing to compare with"
    assert "drifted" not in context.measurements


def test_drift_is_reported_beside_the_version_it_was_measured_against(make: Make) -> None:
    before = make("before")
    step.run(before)
    now = make("now", damage=_many_ties)

    step.run(_after(now, before))

    assert now.facts["drifted"] == ["comparisons_label"]
    assert (now.measurements["drifted"].value, now.measurements["drifted"].n) == (1, len(now.facts["drift"]))
    assert now.facts["drift_compared_with"]["pipeline_run"] == "run-before"
    assert now.facts["drift_compared_with"]["prompts"] == folder_digest(before.output("prompts"))
    report = json.loads((now.output("data_docs") / "drift.json").read_text())
    assert report["psi"] == now.facts["drift"]
    assert report["psi"]["prompts_kind"] == 0.0


def test_drift_beyond_the_limit_is_refused(make: Make) -> None:
    before = make("before")
    step.run(before)
    now = make("now", damage=_many_ties, drift_refuses=0.5)

    with pytest.raises(DataRefused) as refused:
        step.run(_after(now, before))

    assert re.fullmatch(
        r"The data differ from those of the pipeline run 'run-before', the last accepted, by more than "
        r"validate\.drift_refuses = 0\.5 \(PSI\): comparisons_label \d+\.\d+\. If the change is meant, raise the limit for "
        r"this run; else mend the "
        r"data\.",
        str(refused.value),
    )


def test_labels_that_were_withdrawn_are_a_gap(make: Make) -> None:
    context = make()
    context.reference = Reference("run-before", {}, {})

    step.run(context)

    assert context.gaps["drift"] == "comparisons, prompts of the last accepted version were withdrawn since"


def test_the_script_of_prompts_is_told(make: Make) -> None:
    context = make(damage=_append("prompts", _prompt("t1", "train", "\u041f\u043e\u0447\u0435\u043c\u0443 yes?")))

    step.run(context)

    assert context.facts["prompt_scripts"]["cyrillic"] == 1
    assert set(context.facts["prompt_scripts"]) == {"cyrillic", "latin"}


def _relabelled(label: str, *, every: int = 1) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        path = data / "comparisons.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for number, row in enumerate(rows):
            if number % every == 0:
                row |= {"label": label, "strength": None if label == "tie" else 1, "criteria": {}}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return damage


@pytest.mark.parametrize(("label", "column"), [("first", "is_first"), ("second", "is_first"), ("tie", "is_tie")])
def test_labels_that_are_nearly_all_the_same_are_refused(make: Make, label: str, column: str) -> None:
    """Nine labels of ten; the limits are four of five for a place and three of five for ties."""

    def damage(data: Path) -> None:
        _relabelled(label)(data)
        _relabelled("tie" if label != "tie" else "first", every=10)(data)

    with pytest.raises(DataRefused) as refused:
        step.run(make(damage=damage, max_quarantined_share=1.0))

    assert f"comparisons.jsonl > {column}: expect_column_mean_to_be_between" in str(refused.value)


def test_one_label_given_twice_is_refused_where_it_is_common(make: Make) -> None:
    """Every tenth row again under another id: a tenth of the labels would count twice; one in twenty may."""

    def damage(data: Path) -> None:
        path = data / "comparisons.jsonl"
        lines = path.read_text().splitlines()
        again = [json.dumps(json.loads(line) | {"id": f"again-{number}"}) for number, line in enumerate(lines[::10])]
        path.write_text("".join(line + "\n" for line in [*lines, *again]))

    with pytest.raises(DataRefused, match=r"comparisons\.jsonl > table: expect_compound_columns_to_be_unique"):
        step.run(make(damage=damage))


def test_golden_pairs_whose_checksums_agree_are_two_pairs(make: Make) -> None:
    """The CRC-32 of "plumless" is that of "buckeroo"; of golden pairs even one repeat is refused."""

    def damage(data: Path) -> None:
        pair = json.loads((data / "golden.jsonl").read_text().splitlines()[0])
        for word in ("plumless", "buckeroo"):
            _append("golden", json.dumps(pair | {"id": word, "responses": [word, "x"]}))(data)

    step.run(make(damage=damage))


GERMAN = "Warum springt der schnelle braune Fuchs über den faulen Hund und wohin läuft er danach, Nummer {}?"


def test_texts_in_another_language_are_counted_and_refused_beyond_the_limit(make: Make) -> None:
    """German and English share a script, so that only the language tells them apart."""
    more = [_prompt(f"de{number}", "train", GERMAN.format(number)) for number in range(60)]
    counted, refused = make("one", _append("prompts", *more)), make("two", _append("prompts", *more), max_other_language=0.1)

    step.run(counted)

    told = counted.facts["languages"]["prompts"]
    assert told["de"] == 60
    assert told["en"] > 0.8 * (sum(told.values()) - 60)
    assert counted.measurements["other_languages"].value >= 60
    with pytest.raises(DataRefused, match=r"prompts\.jsonl > other_language: .*max_value 0\.1, found 0\.\d+ \(.*de 60"):
        step.run(refused)
    step.run(make("three", _append("prompts", *more), max_other_language=0.1, languages=("en", "de")))


def test_of_a_large_table_languages_are_told_of_rows_that_stand_evenly_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten rows, at most four: every third."""
    from components.validate import languages

    monkeypatch.setattr(languages, "MOST_ROWS", 4)
    path = tmp_path / "corpus.jsonl"
    sentences = ["This is an English sentence about the weather.", "Das ist ein deutscher Satz über das Wetter."]
    path.write_text("".join(json.dumps({"id": f"t{row}", "text": sentences[row % 2]}) + "\n" for row in range(10)))

    assert languages.look({"corpus": (path, 10)}) == {"corpus": {0: "en", 3: "de", 6: "en", 9: "de"}}


def test_what_suites_see_of_a_table(tmp_path: Path) -> None:
    """Two comparisons, one of a person and a prompt that are gone by then: as if a row had slipped through."""
    from components import records
    from components.validate import rows
    from components.validate.accepted import Accepted
    from components.validate.findings import Personal

    table = Accepted("comparisons", tmp_path / "comparisons.jsonl", Personal("US"))
    common = {"strength": 2, "criteria": {"honest": "tie"}}
    table.append(
        records.Comparison(
            id="c1", prompt_id="p1", responses=("a", f"bcd {SECRET}"), label="first", annotator="ann-1", **common
        )
    )
    table.append(records.Comparison(id="c2", prompt_id="p2", responses=("bc", "a"), label="tie", annotator="ann-2"))
    table.close()
    tables = rows.Tables(accepted={"comparisons": table}, ids={"prompts": {"p1"}, "annotators": {"ann-1"}})
    seen = expectations.Seen((), {"comparisons": {1: "de"}}, ("en",))

    frame = expectations.frame(tables, "comparisons", seen)

    pairs = frame.pop("pair")
    assert pairs[0] != pairs[1]
    shown = json.loads(frame.to_json(orient="columns"))
    assert {name: [*column.values()] for name, column in shown.items()} == {
        "id": ["c1", "c2"],
        "prompt_id": ["p1", "p2"],
        "label": ["first", "tie"],
        "strength": [2.0, None],
        "annotator": ["ann-1", "ann-2"],
        "seconds_taken": [None, None],
        "guideline": [None, None],
        "first_characters": [1.0, 2.0],
        "second_characters": [29.0, 1.0],
        "is_tie": [0.0, 1.0],
        "is_first": [1.0, None],
        "has_personal_data": [1.0, 0.0],
        "prompt_exists": [True, False],
        "annotator_exists": [True, False],
        "other_language": [None, 1.0],
    }
