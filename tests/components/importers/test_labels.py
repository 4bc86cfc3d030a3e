"""Exports that say who labelled: Label Studio, Argilla, tables. Nobody is named in what is written."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components.errors import ConfigRefused, DataRefused
from components.importers import argilla, label_studio, table, votes
from components.importers.__main__ import _numbered
from components.importers.identities import Identities
from components.importers.mapping import load

if TYPE_CHECKING:
    from components.importers.rows import Imported

ROOT = Path(__file__).resolve().parents[3]
KEY = "0123456789abcdef0123456789abcdef"
PEOPLE = {"ann@example.org": "30-39", "Bob Miller": "40-49", "zoe.q": ""}
MAPPING = """
[columns]
prompt = "question"
first = "left"
second = "right"
label = "choice"
annotator = "who"
strength = "strength"
seconds_taken = "seconds"
labelled_at = "at"
guideline = "=v1"
session = "session"
criteria = { honest = "honest" }

[labels]
first = ["L"]
second = ["R"]
tie = ["same"]

[annotators]
file = "people.csv"
identity = "mail"
demographics = { age_band = "age" }
values = { age_band = { "30-39" = "under 40", "" = "prefer not to say" } }
lawful_basis = "=contract"
retained_until = "until"
"""


def _rows(count: int = 6) -> list[dict[str, str]]:
    """One label each, by three people in turn."""
    who = [*PEOPLE]
    return [
        {
            "question": f"What is {row} + 1?",
            "left": f"It is {row + 1}.",
            "right": f"It is {row + 2}.",
            "choice": ("L", "R", "same")[row % 3],
            "who": who[row % 3],
            "strength": "2",
            "seconds": "4.5",
            "at": f"2026-01-0{row % 9 + 1}T10:00:00+02:00",
            "session": f"{who[row % 3]} monday",
            "honest": "L",
        }
        for row in range(count)
    ]


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _folder(tmp_path: Path, rows: list[dict[str, str]], mapping: str = MAPPING) -> Path:
    _write_csv(tmp_path / "labels.csv", rows)
    _write_csv(tmp_path / "people.csv", [{"mail": name, "age": age, "until": "2031-01-01"} for name, age in PEOPLE.items()])
    (tmp_path / "mapping.toml").write_text(mapping, encoding="utf-8")
    return tmp_path


def _import(folder: Path, *words: str, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "components.importers", *words, "--out", "out"]
    environment = {name: value for name, value in os.environ.items() if name != "PLUMBLINE_IDENTITY_KEY"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"PLUMBLINE_IDENTITY_KEY": key} if key else {})
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def _read(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def _nobody_is_named(folder: Path) -> bool:
    written = b"\n".join(path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()).lower()
    return written != b"" and not any(name.lower().encode() in written for name in PEOPLE)


def test_a_table_becomes_records_that_name_nobody(tmp_path: Path) -> None:
    done = _import(_folder(tmp_path, _rows()), "table", "labels.csv", "--mapping", "mapping.toml")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("9 rows = 9 imported + 0 quarantined (out/import_quarantine.jsonl). 6 prompts. ")
    comparison = _read(tmp_path, "comparisons")[0]
    assert comparison["responses"] == ["It is 1.", "It is 2."]
    assert (comparison["label"], comparison["strength"], comparison["seconds_taken"]) == ("first", 2, 4.5)
    assert comparison["labelled_at"] == "2026-01-01T08:00:00+00:00"
    assert comparison["criteria"] == {"honest": "first"}
    assert comparison["guideline"] == "v1"
    assert [row["label"] for row in _read(tmp_path, "comparisons")] == ["first", "second", "tie"] * 2
    bands = {row["pseudonym"]: row["demographics"]["age_band"] for row in _read(tmp_path, "annotators")}
    assert sorted(bands.values()) == ["40-49", "prefer not to say", "under 40"]
    assert {row["annotator"] for row in _read(tmp_path, "comparisons")} == set(bands)
    assert {row["retained_until"] for row in _read(tmp_path, "annotators")} == {"2031-01-01T00:00:00+00:00"}
    assert _nobody_is_named(tmp_path)


def test_what_a_table_holds_that_was_damaged_balances_and_names_nobody(tmp_path: Path) -> None:
    """Rows are damaged at random; identities get into every column, also of rows that are turned away."""
    dice = random.Random(3)
    rows = _rows(300)
    for row in rows:
        if dice.random() < 0.7:
            column = dice.choice(list(row))
            row[column] = dice.choice(["", "?", "\x00", "a" * 2_000_000, f"{row[column]} {dice.choice([*PEOPLE]).upper()}"])

    done = _import(_folder(tmp_path, rows), "table", "labels.csv", "--mapping", "mapping.toml")

    away = _read(tmp_path, "import_quarantine")
    assert done.returncode == 0, done.stderr
    registered = [row for row in _read(tmp_path, "annotators") if row["lawful_basis"]]  # the others only labelled
    assert len(_read(tmp_path, "comparisons")) + len(registered) + len(away) == 303
    assert json.loads((tmp_path / "out" / "import.json").read_text())["imported"] + len(away) == 303
    assert {row["row"] for row in away} == {""}
    assert any("holds the identity of an annotator" in row["reason"] for row in away)
    assert _nobody_is_named(tmp_path)


def test_label_studio_export(tmp_path: Path) -> None:
    data = {"prompt": "Is the earth flat?", "answer1": "No.", "answer2": "Yes."}
    chose = {"from_name": "comparison", "to_name": "answer1,answer2", "type": "pairwise"}
    annotations = [
        {"completed_by": {"id": 1, "email": "ann@example.org"}, "result": [chose | {"value": {"selected": "left"}}]},
        {"completed_by": {"id": 2, "email": "Bob Miller"}, "result": [chose | {"value": {"selected": "right"}}]},
        {"completed_by": {"id": 3, "email": "zoe.q"}, "result": [], "was_cancelled": True},
    ]
    about = {"lead_time": 4.288, "created_at": "2026-01-09T22:16:08.728353Z"}
    tasks = [
        {"id": 7, "data": data, "annotations": [annotation | about for annotation in annotations]},
        {"id": 8, "data": data, "annotations": []},
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks), encoding="utf-8")

    done = _import(tmp_path, "label-studio", "export.json")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 rows = 2 imported + 2 quarantined")
    first, second = _read(tmp_path, "comparisons")
    assert (first["label"], second["label"]) == ("first", "second")
    assert first["annotator"] != second["annotator"]
    assert (first["seconds_taken"], first["labelled_at"]) == (4.288, "2026-01-09T22:16:08.728353+00:00")
    assert [(row["line"], row["reason"]) for row in _read(tmp_path, "import_quarantine")] == [
        (1, "annotation 3: the annotator skipped this task"),
        (2, "annotation 1: nobody has labelled this task"),
    ]
    assert _read(tmp_path, "demonstrations") == []  # one says left, one says right
    assert _nobody_is_named(tmp_path)


def test_json_min_of_label_studio_says_the_same(tmp_path: Path) -> None:
    row = {"id": 7, "prompt": "Is the earth flat?", "answer1": "No.", "answer2": "Yes.", "comparison": {"selected": "left"}}
    row |= {"annotator": "ann@example.org", "lead_time": 4.288, "created_at": "2026-01-09T22:16:08Z"}
    path = tmp_path / "min.json"
    path.write_text(json.dumps([row]), encoding="utf-8")

    (_, _, found), *more = label_studio.votes(path)

    assert more == []
    assert (found["comparison"], found["completed_by"]) == ("left", "ann@example.org")


NESTED = {
    "id": "r1",
    "fields": {"instruction": "Is the earth flat?", "response1": "No.", "response2": "Yes."},
    "metadata": {"model": "m"},
    "suggestions": {},
    "responses": {
        "preference": [{"value": "response1", "user_id": "u-ann"}, {"value": "response2", "user_id": "u-bob"}],
        "honest": [{"value": "response1", "user_id": "u-bob"}],
    },
}
FLAT = {
    "id": "r1",
    "instruction": "Is the earth flat?",
    "response1": "No.",
    "response2": "Yes.",
    "preference.responses": [
        [{"value": "response1", "rank": 1}, {"value": "response2", "rank": 2}],
        [{"value": "response1", "rank": 1}, {"value": "response2", "rank": 1}],
        "response1",
    ],
    "preference.responses.users": ["u-ann", "u-bob", "u-zoe"],
    "preference.responses.status": ["submitted", "submitted", "draft"],
}


def test_both_exports_of_argilla_are_read_by_person(tmp_path: Path) -> None:
    (tmp_path / "nested.json").write_text(json.dumps([NESTED]), encoding="utf-8")
    (tmp_path / "flat.jsonl").write_text(json.dumps(FLAT) + "\n", encoding="utf-8")

    nested = [row for _, _, row in argilla.votes(tmp_path / "nested.json")]
    flat = [row for _, _, row in argilla.votes(tmp_path / "flat.jsonl")]

    assert [(row["user_id"], row["preference"], row.get("honest")) for row in nested] == [
        ("u-ann", "response1", None),
        ("u-bob", "response2", "response1"),
    ]
    assert [(row["user_id"], row["preference"]) for row in flat[:2]] == [("u-ann", "response1"), ("u-bob", "tie")]
    assert str(flat[2]) == "the response is not submitted but draft"


def test_an_export_of_argilla_is_imported(tmp_path: Path) -> None:
    mapping = '[columns]\nprompt = "instruction"\nfirst = "response1"\nsecond = "response2"\nlabel = "preference"\n'
    mapping += '[labels]\nfirst = ["response1"]\nsecond = ["response2"]\ntie = ["tie"]\n'
    (tmp_path / "mapping.toml").write_text(mapping, encoding="utf-8")
    (tmp_path / "records.jsonl").write_text(json.dumps(FLAT) + "\n", encoding="utf-8")

    done = _import(tmp_path, "argilla", "records.jsonl", "--mapping", "mapping.toml")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 rows = 2 imported + 1 quarantined")
    assert [row["label"] for row in _read(tmp_path, "comparisons")] == ["first", "tie"]
    assert _read(tmp_path, "demonstrations")[0]["messages"][-1]["content"] == "No."


@pytest.mark.parametrize(("key", "found"), [(None, "0"), ("short", "5")])
def test_without_a_key_nothing_is_imported(tmp_path: Path, key: str | None, found: str) -> None:
    done = _import(_folder(tmp_path, _rows()), "table", "labels.csv", "--mapping", "mapping.toml", key=key)

    assert done.returncode == 65
    assert done.stderr == (
        f"ConfigRefused: PLUMBLINE_IDENTITY_KEY holds {found} characters; pseudonyms need a secret key of 32 or more. Make one "
        "once with `openssl rand -hex 32`, keep it where secrets are kept, and set it for every import.\n"
    )
    assert not (tmp_path / "out").exists()


def test_the_same_key_gives_the_same_pseudonym_and_another_key_another() -> None:
    one, same, other = Identities(KEY), Identities(KEY), Identities(KEY[::-1])

    assert one.pseudonym("Ann@Example.org ") == same.pseudonym("ann@example.org")
    assert one.pseudonym("ann@example.org") != other.pseudonym("ann@example.org")
    assert one.pseudonym("ann", kind="s") != one.pseudonym("ann")


def test_an_identity_is_found_in_a_text_but_not_inside_another_word() -> None:
    identities = Identities(KEY)
    for name in (*PEOPLE, "17", "annabel"):
        identities.remember(name)

    assert identities.named_in("write to ANN@example.org!")
    assert identities.named_in("by bob miller")
    assert not identities.named_in("bob and miller")
    assert not identities.named_in("annabella is 17")


def test_a_special_category_without_a_ground_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    mapping = MAPPING.replace('{ age_band = "age" }', '{ religion = "age" }')

    done = _import(_folder(tmp_path, _rows(), mapping), "table", "labels.csv", "--mapping", "mapping.toml")

    assert done.returncode == 65
    assert done.stderr == (
        "ConfigRefused: mapping.toml is no mapping: annotators: Value error, demographics names religion, a special category "
        "(GDPR, Art. 9), and special_category_ground is empty; name the ground or leave the attribute out. docs/importing.md "
        "shows a mapping for each format.\n"
    )


def test_a_person_whose_ground_is_missing_is_turned_away_and_nothing_of_the_row_is_kept(tmp_path: Path) -> None:
    folder = _folder(
        tmp_path,
        _rows(),
        MAPPING.replace('{ age_band = "age" }', '{ religion = "faith" }')
        + 'special_category_ground = "ground"\nconsent_reference = "=form 7"\nconsented_at = "=2026-01-31"\n',
    )
    people = [
        {"mail": "ann@example.org", "faith": "druid", "ground": "9(2)(a) explicit consent", "until": ""},
        {"mail": "Bob Miller", "faith": "jedi", "ground": "", "until": ""},
    ]
    _write_csv(folder / "people.csv", people)

    done = _import(folder, "table", "labels.csv", "--mapping", "mapping.toml")

    assert done.returncode == 0, done.stderr
    assert [(row["file"], row["line"]) for row in _read(folder, "import_quarantine")] == [("annotators", 3)]
    assert "religion is a special category" in _read(folder, "import_quarantine")[0]["reason"]
    written = b"".join(path.read_bytes() for path in (folder / "out").iterdir())
    assert b"druid" in written
    assert b"jedi" not in written


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"choice": "M"}, "`choice` holds none of the labels that the mapping names"),
        ({"right": "It is 1."}, "the two answers are the same"),
        ({"left": ""}, "`left` is empty"),
        ({"strength": "7"}, "strength: Input should be less than or equal to 3"),
        ({"seconds": "soon"}, "`seconds` holds no number"),
        ({"seconds": "inf"}, "`seconds` holds no number"),
        ({"strength": "nan"}, "`strength` holds no number"),
        ({"strength": "-inf"}, "`strength` holds no number"),
        ({"at": "0001-01-01T00:00:00+05:00"}, "`at` holds no time in the format of RFC 3339"),
        ({"at": "2026-01-01T10:00:00"}, "`at` holds a time without a time zone"),
        ({"at": "yesterday"}, "`at` holds no time in the format of RFC 3339"),
        ({"left": "It is 1.<|end|>"}, "`left` holds '<|end|>', which is not text or would be read as the mark of a turn"),
    ],
)
def test_a_label_that_cannot_be_used_is_turned_away_with_its_reason(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    made = _converted(tmp_path, [*_rows(1), _rows(1)[0] | change])

    assert [(row["file"], row["line"], row["reason"]) for row in made.quarantined] == [("labels", 3, reason)]
    assert made.rows == 2


@pytest.mark.parametrize("row", [{"who": "\ud800"}, {}])
def test_a_row_of_json_whose_annotator_is_no_text_or_missing_is_turned_away(tmp_path: Path, row: dict[str, str]) -> None:
    whole = _rows(1)[0]
    rows = [whole, {name: value for name, value in whole.items() if name != "who"} | row]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "mapping.toml").write_text(MAPPING)
    work = votes.Import(load(tmp_path / "mapping.toml", format_="table"), Identities(KEY), source="table")

    work.remember(votes.of_table, {"labels": tmp_path / "labels.jsonl"}, None)
    work.labels(votes.of_table, "labels", tmp_path / "labels.jsonl")

    assert [away["line"] for away in work.made.quarantined] == [2]


@pytest.mark.parametrize("rank", [None, "1", True, [1], 1.5])
def test_a_ranking_without_numbers_is_turned_away(tmp_path: Path, rank: Any) -> None:
    answer = [{"value": "response1", "rank": 1}, {"value": "response2", "rank": rank}]
    nested = NESTED | {"responses": {"preference": [{"value": answer, "user_id": "u-ann"}]}}
    (tmp_path / "ranked.json").write_text(json.dumps([nested, NESTED]))

    (_, _, away), *taken = argilla.votes(tmp_path / "ranked.json")

    assert str(away) == "a ranking needs a whole number as each `rank`"
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (NESTED | {"metadata": "m"}, "`metadata` and `responses` must be objects"),
        (NESTED | {"responses": ["response1"]}, "`metadata` and `responses` must be objects"),
        (
            FLAT | {"preference.responses": 7},
            "`preference.responses` and `preference.responses.users` must be lists of one length",
        ),
        (
            FLAT | {"preference.responses.status": "submitted"},
            "`preference.responses` and `preference.responses.users` must be lists of one length",
        ),
    ],
)
def test_a_record_of_argilla_of_another_shape_is_turned_away(tmp_path: Path, record: dict[str, Any], reason: str) -> None:
    (tmp_path / "odd.json").write_text(json.dumps([record]))

    ((_, _, away),) = argilla.votes(tmp_path / "odd.json")

    assert str(away) == reason


def test_a_file_named_after_a_person_names_nobody(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [*_rows(), _rows(1)[0] | {"left": ""}], MAPPING.replace("people.csv", "zoe.q.csv"))
    (folder / "labels.csv").rename(folder / "ann@example.org.csv")
    (folder / "people.csv").rename(folder / "zoe.q.csv")
    (folder / "mapping.toml").rename(folder / "Bob Miller.toml")

    done = _import(folder, "table", "ann@example.org.csv", "--mapping", "Bob Miller.toml")

    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256((folder / "ann@example.org.csv").read_bytes()).hexdigest()
    name = f"01-{digest[:8]}"
    assert _read(folder, "comparisons")[0]["id"] == f"{name}-000002"
    assert [row["file"] for row in _read(folder, "import_quarantine")] == [name]
    sources = json.loads((folder / "out" / "import.json").read_text())["sources"]
    assert sources.keys() == {name, "mapping", "annotators"}
    assert sources[name] == {"sha256": digest}
    written = b"".join(path.read_bytes() for path in (folder / "out").iterdir())
    assert not any(part in written for part in (b"ann@example", b"zoe", b"Bob"))


def test_a_file_given_twice_is_refused_under_whatever_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path, _rows())
    (folder / "again.csv").write_bytes((folder / "labels.csv").read_bytes())

    with pytest.raises(DataRefused, match=r"^.*labels\.csv and .*again\.csv hold the same\. Give each file once\.$"):
        _numbered([folder / "labels.csv", folder / "again.csv"])


def _converted(folder: Path, rows: list[dict[str, str]]) -> Imported:
    _folder(folder, rows)
    work = votes.Import(load(folder / "mapping.toml", format_="table"), Identities(KEY), source="table")
    work.labels(votes.of_table, "labels", folder / "labels.csv")
    return work.finish()


def test_a_row_with_a_field_too_many_or_bytes_of_another_encoding_is_turned_away(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1,2\n1,2,3\n1,\xe9\n")

    found = [str(row) for _, row in table.rows(tmp_path / "rows.csv")]

    assert found == ["{'a': '1', 'b': '2'}", "has 3 fields, the header 2", "not UTF-8"]


def test_a_file_whose_quotes_do_not_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('a,b\n1,"2\n')

    with pytest.raises(DataRefused, match=r"rows\.csv:2 is not CSV: unexpected end of data"):
        list(table.rows(tmp_path / "rows.csv"))


def test_a_mapping_lists_all_that_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text('[columns]\nprompt = "p"\ncolour = "c"\n[labels]\nfirst = []\nsecond = ["R"]\n')

    with pytest.raises(ConfigRefused) as refused:
        load(tmp_path / "mapping.toml", format_="table")

    assert str(refused.value) == (
        f"{tmp_path / 'mapping.toml'} is no mapping: columns > first: Field required; columns > second: Field required; "
        "columns > label: Field required; columns > colour: Extra inputs are not permitted; labels > first: List should have "
        "at least 1 item after validation, not 0. docs/importing.md shows a mapping for each format."
    )


def test_what_is_imported_passes_validation(tmp_path: Path) -> None:
    """The same folder goes through `validate` without a row being turned away."""
    from components.validate import rows

    _import(_folder(tmp_path, _rows(60)), "table", "labels.csv", "--mapping", "mapping.toml")
    (tmp_path / "out" / "guidelines").mkdir()
    (tmp_path / "out" / "guidelines" / "v1.md").write_text("Prefer what is true.\n")

    tables = rows.judge(tmp_path / "out", max_characters=100_000)

    assert tables.quarantined == []
    assert tables.rows["comparisons"] == 60
    assert len(tables.accepted["annotators"]) == 3
    assert tables.accepted["corpus"]
