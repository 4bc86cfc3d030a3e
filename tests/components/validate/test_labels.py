"""Bad labels and bad records of people: a clear outcome each."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from components import records
from components.errors import DataRefused
from components.testbed.folder import write_world
from components.validate.rows import judge

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = {"id": "p1", "kind": "fact", "split": "train", "messages": [{"role": "user", "content": "What is up?"}], "truth": None}
PERSON = {"pseudonym": "ann-1", "kind": "human"}
BELIEVER = PERSON | {
    "demographics": {"religion": "none"},
    "special_category_ground": "9(2)(a) explicit consent",
    "consent_reference": "form 7",
    "consented_at": "2026-01-31",
}
LABEL = {
    "id": "c1",
    "prompt_id": "p1",
    "responses": ["a", "b"],
    "label": "first",
    "annotator": "ann-1",
    "guideline": "v1",
    "labelled_at": "2026-03-01T10:00:00Z",
}
VERSIONS = {
    "v1": {"since": "2026-02-01T00:00:00Z", "until": "2026-04-01T00:00:00Z"},
    "v2": {"since": "2026-04-01T00:00:00Z"},
    "v4": {},
}


def _judged(folder: Path, labels: list[dict[str, Any]], people: list[dict[str, Any]] | None = None) -> Any:
    (folder / "guidelines").mkdir()
    (folder / "guidelines" / "versions.json").write_text(json.dumps(VERSIONS))
    for version in ("v1", "v2", "v3"):
        (folder / "guidelines" / f"{version}.md").write_text("Be fair.")
    for table, rows in {"prompts": [PROMPT], "annotators": people or [PERSON], "comparisons": labels}.items():
        (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return judge(folder, max_characters=1000)


@pytest.mark.parametrize(
    ("change", "rule", "reason"),
    [
        (
            {"annotator": "ann-9"},
            "unknown annotator",
            "names the annotator 'ann-9', of whom annotators.jsonl has no usable row.",
        ),
        (
            {"labelled_at": "2026-04-01T00:00:00Z"},
            "retired guideline",
            "was labelled at 2026-04-01T00:00:00Z by 'v1', which was not in force then.",
        ),
        *(
            (
                {"guideline": version},
                "unknown guideline",
                f"names the guideline {version!r}, of which guidelines/ has no file or no dates.",
            )
            for version in ("v7", "v3", "v4")  # neither; a file alone; dates alone
        ),
        (
            {"labelled_at": None},
            "retired guideline",
            "has no time, and 'v1' was in force until 2026-04-01T00:00:00+00:00 only. Give the time (labelled_at).",
        ),
        (
            {"labelled_at": "2999-01-01T00:00:00Z", "guideline": "v2"},
            "timestamp",
            "was labelled at 2999-01-01T00:00:00Z, which lies in the future. Mend the clock or the row.",
        ),
        (
            {"labelled_at": "yesterday"},
            "timestamp",
            "has the time 'yesterday', which is not RFC 3339 with a time zone. Mend it.",
        ),
        (
            {"labelled_at": "2026-03-01T10:00:00"},
            "timestamp",
            "has the time '2026-03-01T10:00:00', which is not RFC 3339 with a time zone. Mend it.",
        ),
        (
            {"responses": ["a\x1b[31m", "b"]},
            "control characters",
            "holds a control character other than tab and line feed. Remove it.",
        ),
        (
            {"responses": ["caf\ufffd", "b"]},
            "encoding",
            "holds U+FFFD, which stands for bytes that somebody could not read. Export it again as UTF-8.",
        ),
    ],
)
def test_a_bad_label_is_turned_away_with_its_reason(tmp_path: Path, change: dict[str, Any], rule: str, reason: str) -> None:
    tables = _judged(tmp_path, [LABEL | change])

    assert [(row["rule"], row["reason"]) for row in tables.quarantined] == [(rule, f"comparisons.jsonl:1 {reason}")]


def test_the_opposite_of_an_earlier_label_is_turned_away_in_whatever_order_it_was_shown(tmp_path: Path) -> None:
    """c2 agrees with c1, shown the other way round; c3 is a tie; c4 says the opposite; c5 is somebody else's."""
    labels = [
        LABEL,
        LABEL | {"id": "c2", "responses": ["b", "a"], "label": "second"},
        LABEL | {"id": "c3", "label": "tie"},
        LABEL | {"id": "c4", "responses": ["b", "a"], "label": "first"},
        LABEL | {"id": "c5", "label": "second", "annotator": "ann-2"},
    ]

    tables = _judged(tmp_path, labels, [PERSON, PERSON | {"pseudonym": "ann-2"}])

    assert [(row["line"], row["rule"]) for row in tables.quarantined] == [(4, "contradiction")]


def test_a_special_category_without_a_ground_is_refused_and_the_reason_does_not_repeat_it(tmp_path: Path) -> None:
    tables = _judged(tmp_path, [], [PERSON | {"demographics": {"religion": "Jedi", "gender": "man"}}])

    assert [(row["rule"], row["row"]) for row in tables.quarantined] == [("special category", "")]
    assert tables.quarantined[0]["reason"] == (
        "annotators.jsonl:1 > record: Value error, religion is a special category (GDPR, Art. 9) and special_category_ground "
        "is empty. Give what is missing or remove the attribute; nothing of the row was kept."
    )
    assert "Jedi" not in json.dumps(tables.quarantined)


def test_of_a_bad_record_of_a_person_nothing_is_kept_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    secret = {"demographics": {"religion": "Jedi", "hiv_health": "positive"}}
    people = [
        {"pseudonym": "ann-1", "kind": "Jedi"} | secret,
        PERSON | secret | {"email": "jedi@example.org"},
        PERSON | {"demographics": ["Jedi", "positive"]},
        PERSON | secret | {"special_category_ground": "9(2)(a) Jedi consent"},
    ]

    tables = _judged(tmp_path, [], people)
    (tmp_path / "annotators.jsonl").write_text('{"pseudonym": "ann-1", "religion": "Jedi",\n"positive"\n')
    torn = judge(tmp_path, max_characters=1000)

    assert [row["rule"] for row in tables.quarantined] == ["schema"] * 4
    assert tables.quarantined[0]["reason"] == (
        "annotators.jsonl:1 > kind: Input should be 'human', 'ai' or 'simulated'. Mend or remove the line; nothing of the row "
        "was kept."
    )
    told = json.dumps(tables.quarantined + torn.quarantined).casefold()
    assert len(torn.quarantined) == 2
    assert "jedi" not in told
    assert "positive" not in told


@pytest.mark.parametrize("missing", ["consent_reference", "consented_at"])
def test_consent_as_a_ground_needs_its_reference_and_its_time(tmp_path: Path, missing: str) -> None:
    tables = _judged(tmp_path, [], [BELIEVER | {missing: None}])

    assert [(row["rule"], row["row"]) for row in tables.quarantined] == [("special category", "")]
    assert tables.quarantined[0]["reason"] == (
        "annotators.jsonl:1 > record: Value error, religion is a special category (GDPR, Art. 9), its ground is consent, and "
        "consent_reference or consented_at is empty. Give what is missing or remove the attribute; nothing of the row was kept."
    )


@pytest.mark.parametrize(
    ("attribute", "special"),
    [
        *((name, True) for name in ("Religion", "sexual_orientation", "sexualOrientation", "political views", "trade-union")),
        *(
            (name, True)
            for name in ("Ethnic origin", "disabilities", "health_status", "genetic_data", "race", "union_membership")
        ),
        *(
            (name, True)
            for name in ("mentalHealth", "homeReligion", "fatherReligion", "hivStatus", "HIVStatus", "caste", "lgbtq")
        ),
        *((name, True) for name in ("skin_colour", "denomination", "diagnosis", "illness", "pregnancy", "tribe", "ancestry")),
        *((name, True) for name in ("voted_for", "party", "politicalParty", "transgender", "DNA", "bisexual")),
        *(
            (name, False)
            for name in ("partner", "hives", "castle", "tribute", "devotee", "homeRegion", "payBand", "department")
        ),
        *((name, False) for name in ("gender", "sex", "age_band", "trace", "region", "education", "reunion", "first_language")),
    ],
)
def test_special_categories_are_known_by_many_names(attribute: str, *, special: bool) -> None:
    assert records.is_special(attribute) is special


def test_with_a_ground_or_undisclosed_it_is_taken(tmp_path: Path) -> None:
    people = [
        BELIEVER,
        PERSON | {"demographics": {"religion": "x"}, "special_category_ground": "AI Act 4a", "pseudonym": "ann-3"},
        PERSON | {"pseudonym": "ann-2", "demographics": {"religion": "prefer not to say"}},
    ]

    assert _judged(tmp_path, [], people).quarantined == []


def test_without_dates_a_guideline_needs_its_file(tmp_path: Path) -> None:
    labels = [LABEL | {"labelled_at": None}, LABEL | {"id": "c2", "guideline": "v9"}]
    _judged(tmp_path, labels)
    (tmp_path / "guidelines" / "versions.json").unlink()

    tables = judge(tmp_path, max_characters=1000)

    assert [(row["line"], row["rule"]) for row in tables.quarantined] == [(2, "unknown guideline")]


def test_a_label_without_a_time_by_a_guideline_without_an_end_is_taken(tmp_path: Path) -> None:
    assert _judged(tmp_path, [LABEL | {"labelled_at": None, "guideline": "v2"}]).quarantined == []


@pytest.mark.parametrize("until", ["soon", "2026-04-01", 7, []])
def test_dates_of_guidelines_that_are_none_are_refused(tmp_path: Path, until: Any) -> None:
    _judged(tmp_path, [LABEL])
    (tmp_path / "guidelines" / "versions.json").write_text(json.dumps({"v1": {"until": until}}))

    with pytest.raises(DataRefused, match=r"^guidelines/versions\.json must hold, for each version, `since` and `until`"):
        judge(tmp_path, max_characters=1000)


@pytest.mark.parametrize("name", ["retained_until", "consented_at"])
@pytest.mark.parametrize(
    ("text", "taken"),
    [
        *((text, True) for text in ("2027-01-31", "2027-01-31T10:00:00Z", "2027-01-31T10:00:00.5+02:00")),
        *((text, False) for text in ("soon", "", "2027-02-30", "2027-01-31T10:00:00", "20270131", "31.01.2027", "2027-W05-7")),
    ],
)
def test_dates_about_a_person_are_days_or_times_with_a_zone(tmp_path: Path, name: str, text: str, *, taken: bool) -> None:
    quarantined = _judged(tmp_path, [], [PERSON | {name: text}]).quarantined

    reason = (
        f"annotators.jsonl:1 > {name}: Value error, must be a day or a time with a time zone (RFC 3339). Mend or remove the "
        "line; nothing of the row was kept."
    )
    assert [row["reason"] for row in quarantined] == ([] if taken else [reason])


def test_ten_thousand_corrupted_rows_balance(tmp_path: Path) -> None:
    """Every line damaged at random, in bytes or in values; in = accepted + quarantined, line by line."""
    write_world(tmp_path / "data", seed=3, size="small")
    path, dice = tmp_path / "data" / "comparisons.jsonl", random.Random(8)
    source = path.read_bytes().splitlines()
    lines = [_damaged(dice.choice(source), dice, row) for row in range(10_000)]
    path.write_bytes(b"\n".join(lines) + b"\n")

    tables = judge(tmp_path / "data", max_characters=1000)

    away = [row["line"] for row in tables.quarantined if row["table"] == "comparisons"]
    assert tables.rows["comparisons"] == 10_000
    assert len(tables.accepted["comparisons"]) + len(away) == 10_000
    assert len(away) == len(set(away))
    assert len(tables.accepted["comparisons"]) > 500
    rules = {row["rule"] for row in tables.quarantined}
    assert {"schema", "encoding", "timestamp", "unknown annotator", "unknown prompt", "same responses", "duplicate"} <= rules


def _damaged(line: bytes, dice: random.Random, row: int) -> bytes:
    way, at = dice.randrange(9), dice.randrange(1, len(line))
    if way == 0:
        return line[:at]
    if way == 1:
        return line[:at] + b"\xff" + line[at:]
    record = json.loads(line) | {"id": f"c{row}"}
    if way == 2:
        record["labelled_at"] = dice.choice(["2999-01-01T00:00:00Z", "soon"])
    elif way == 3:
        record["annotator"] = "ann-unknown"
    elif way == 4:
        record["prompt_id"] = "nowhere"
    elif way == 5:
        record["responses"] = [record["responses"][0]] * 2
    elif way == 6:
        record["id"] = "c0"
    elif way == 7:
        record.pop(dice.choice(sorted(record)))
    return json.dumps(record).encode()
