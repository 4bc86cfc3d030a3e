from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from components import records
from components.errors import DataRefused
from components.testbed.folder import write_world
from components.validate import rows
from components.validate.rows import judge

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = {"id": "p1", "kind": "fact", "split": "train", "messages": [{"role": "user", "content": "What is up?"}], "truth": None}
ASKED, ANSWERED = {"role": "user", "content": "What is up?"}, {"role": "assistant", "content": "The sky."}
DEMONSTRATION = {
    "id": "d1",
    "prompt_id": "p1",
    "kind": "fact",
    "split": "train",
    "messages": [ASKED, ANSWERED],
    "source": "me",
}
COMPARISON = {"id": "c1", "prompt_id": "p1", "responses": ["a", "b"], "label": "first", "annotator": None}


def _tables(folder: Path, **tables: list[Any]) -> Path:
    for name, table in tables.items():
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in table]
        (folder / f"{name}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def _only_quarantined(folder: Path) -> tuple[str, str]:
    tables = judge(folder, max_characters=1000)
    assert len(tables.quarantined) == 1, tables.quarantined
    return tables.quarantined[0]["rule"], tables.quarantined[0]["reason"]


def test_good_rows_are_accepted(tmp_path: Path) -> None:
    tables = judge(_tables(tmp_path, prompts=[PROMPT], comparisons=[COMPARISON]), max_characters=1000)

    assert [record.id for record in tables.accepted["comparisons"]] == ["c1"]
    assert tables.quarantined == []


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    rule, reason = _only_quarantined(_tables(tmp_path, prompts=[PROMPT, b'{"id": "p2",']))

    assert rule == "schema"
    assert reason == (
        "prompts.jsonl:2 is not JSON: Expecting property name enclosed in double quotes at column 13. Mend or remove the line."
    )


def test_a_wrong_value_is_named_with_its_path(tmp_path: Path) -> None:
    rule, reason = _only_quarantined(_tables(tmp_path, prompts=[PROMPT], comparisons=[COMPARISON | {"label": "both"}]))

    assert rule == "schema"
    assert reason == (
        "comparisons.jsonl:1 > label: Input should be 'first', 'second' or 'tie'; found 'both'. Mend or remove the line."
    )


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    rule, reason = _only_quarantined(_tables(tmp_path, prompts=[PROMPT, b'{"id": "\xff"}']))

    assert (rule, reason) == ("encoding", "prompts.jsonl:2 is not UTF-8 at byte 8. Save the file as UTF-8.")


@pytest.mark.parametrize(
    ("tables", "rule", "reason"),
    [
        (
            {"prompts": [PROMPT, PROMPT]},
            "duplicate",
            "prompts.jsonl:2 has the id 'p1' of an earlier row. Keep one of them.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"prompt_id": "p9"}]},
            "unknown prompt",
            "comparisons.jsonl:1 names the prompt 'p9', of which prompts.jsonl has no usable row.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"annotator": "nobody"}]},
            "unknown annotator",
            "comparisons.jsonl:1 names the annotator 'nobody', of whom annotators.jsonl has no usable row.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"responses": ["  ", "b"]}]},
            "empty text",
            "comparisons.jsonl:1 holds a text of white space only. Fill or remove it.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"responses": ["a" * 10_000_000, "b"]}]},
            "schema",
            None,
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"responses": ["a" * 1001, "b"]}]},
            "length",
            "comparisons.jsonl:1 holds a text of 1001 characters; at most 1000 are taken. Shorten or remove it.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"responses": ["a\x00", "b"]}]},
            "control characters",
            "comparisons.jsonl:1 holds a NUL character. Remove it.",
        ),
        (
            {
                "prompts": [
                    PROMPT,
                    PROMPT | {"id": "p2", "split": "evaluation", "messages": [ASKED | {"content": "what IS  up?"}]},
                ]
            },
            "leakage",
            "prompts.jsonl:2 asks the same as a prompt of another split; its own is evaluation. Keep one of them.",
        ),
        (
            {"prompts": [PROMPT], "demonstrations": [DEMONSTRATION | {"split": "evaluation"}]},
            "leakage",
            "demonstrations.jsonl:1 has the split evaluation, its prompt 'p1' has train. Give both the same.",
        ),
        (
            {"prompts": [PROMPT], "demonstrations": [DEMONSTRATION | {"kind": "choice"}]},
            "kind",
            "demonstrations.jsonl:1 has the kind 'choice', its prompt 'p1' has 'fact'. Give both the same.",
        ),
        (
            {"prompts": [PROMPT], "demonstrations": [DEMONSTRATION | {"messages": [ASKED | {"content": "Who?"}, ANSWERED]}]},
            "other prompt",
            "demonstrations.jsonl:1 does not begin with the messages of its prompt 'p1'. Mend its messages or prompt_id.",
        ),
        (
            {"prompts": [PROMPT], "demonstrations": [DEMONSTRATION | {"messages": [ANSWERED, ASKED]}]},
            "turns",
            "demonstrations.jsonl:1 does not end with the assistant's turn.",
        ),
        (
            {
                "prompts": [PROMPT | {"split": "evaluation"}],
                "corpus": [
                    {"id": "t1", "text": "<|user|>\nWhat is up?<|end|>\n<|assistant|>\nUp.<|end|>\n<|user|>\nSure?<|end|>\n"},
                    {"id": "t2", "text": "<|user|>\nWhat is down?<|end|>\n<|assistant|>\nDown.<|end|>\n"},
                ],
            },
            "leakage",
            "corpus.jsonl:1 holds a prompt that is kept from training, with an answer to it. Remove it.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"responses": ["a", "a"]}]},
            "same responses",
            "comparisons.jsonl:1 compares a response with itself. Remove it.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [COMPARISON | {"responses": ["a<|end|>\n<|user|>\nTell me.", "b"]}]},
            "chat markup",
            "comparisons.jsonl:1 holds <|end|>, which would be read as the mark of a turn. Remove it from the text.",
        ),
        (
            {"prompts": [PROMPT, PROMPT | {"id": "p2", "truth": {"answer": "\ud800"}}]},
            "truth",
            "prompts.jsonl:2 has a truth that can't be written as JSON: nested too deeply, not finite or not Unicode. Mend it.",
        ),
        (
            {"prompts": [PROMPT, b"[" * 100_000]},
            "schema",
            "prompts.jsonl:2 is not a record: it is nested too deeply. Mend or remove the line.",
        ),
        (
            {"prompts": [PROMPT, b'{"id": ' + b"1" * 5000 + b"}"]},
            "schema",
            "prompts.jsonl:2 is not a record: a number in it is not finite or too long. Mend or remove the line.",
        ),
        (
            {"prompts": [PROMPT], "comparisons": [json.dumps(COMPARISON)[:-1].encode() + b', "seconds_taken": NaN}']},
            "schema",
            "comparisons.jsonl:1 is not a record: a number in it is not finite or too long. Mend or remove the line.",
        ),
        (
            {"prompts": [PROMPT | {"messages": [{"role": "assistant", "content": "Hi."}]}]},
            "turns",
            "prompts.jsonl:1 does not end with the user's turn.",
        ),
    ],
)
def test_each_rule_turns_away_what_it_says(tmp_path: Path, tables: dict[str, Any], rule: str, reason: str | None) -> None:
    found = _only_quarantined(_tables(tmp_path, **tables))

    assert found[0] == rule
    assert reason is None or found[1] == reason


def test_a_line_too_long_to_read_is_quarantined_and_the_next_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "LINE_BYTES", 200)
    _tables(tmp_path, prompts=[PROMPT, b"x" * 1000, PROMPT | {"id": "p3"}])

    tables = judge(tmp_path, max_characters=1000)

    assert [prompt.id for prompt in tables.accepted["prompts"]] == ["p1", "p3"]
    assert [(row["line"], row["rule"], row["reason"]) for row in tables.quarantined] == [
        (2, "length", "prompts.jsonl:2 is a line of 200 bytes or more. Shorten or remove it.")
    ]


@pytest.mark.parametrize("depth", [100, 200, 230, 260, 300, 500, 900, 1500])
def test_whatever_is_accepted_can_be_written(tmp_path: Path, depth: int) -> None:
    """What Python's reader, pydantic and Python's writer call too deep are three different depths."""
    nested = b'{"a": ' * depth + b"1" + b"}" * depth
    _tables(tmp_path, prompts=[PROMPT, json.dumps(PROMPT | {"id": "p2"})[:-5].encode() + nested + b"}"])

    tables = judge(tmp_path, max_characters=1000)

    assert tables.rows["prompts"] == len(tables.accepted["prompts"]) + tables.turned_away("prompts") == 2
    records.write(tmp_path / "out.jsonl", tables.accepted["prompts"])
    assert all(json.loads(prompt.model_dump_json()) for prompt in tables.accepted["prompts"])


def test_in_equals_accepted_plus_quarantined_whatever_is_broken(tmp_path: Path) -> None:
    """Every table of a small testbed, a third of its lines damaged at random."""
    write_world(tmp_path / "data", seed=0, size="small")
    dice = random.Random(5)
    lines = {}
    for path in sorted((tmp_path / "data").glob("*.jsonl")):
        damaged = [_damage(line, dice) if dice.random() < 1 / 3 else line for line in path.read_bytes().splitlines()]
        lines[path.stem] = sum(bool(line.strip()) for line in damaged)
        path.write_bytes(b"\n".join(damaged) + b"\n")

    tables = judge(tmp_path / "data", max_characters=1000)

    for table, count in lines.items():
        assert count == tables.rows[table] == len(tables.accepted[table]) + tables.turned_away(table), table
    assert len(tables.quarantined) > 300
    assert all(row["rule"] and row["reason"] for row in tables.quarantined)


@pytest.mark.parametrize(
    "change",
    [
        *({"strength": value} for value in (2, 2.0, True, "2", 4, None)),
        *({"seconds_taken": value} for value in (3, 0.1, True, "3", -1, None)),
        *({"responses": value} for value in (["a"], ["a", "b", "c"], "ab", {"0": "a"})),
        *({"label": value} for value in ("tie", "both", 0)),
        *({"id": value} for value in ("", 5, "x" * 201)),
        {"criteria": {"honest": "first"}},
        {"criteria": {"honest": 1}},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_both_readers_take_the_same_rows(change: dict[str, Any]) -> None:
    """pydantic's reader goes first because it is fast; `records.parse` says why something was refused."""
    line = json.dumps(COMPARISON | change).encode()
    try:
        slowly: records.Comparison | None = records.parse(line.decode(), records.Comparison, where="here")
    except DataRefused:
        slowly = None

    try:
        quickly: records.Comparison | None = records.Comparison.model_validate_json(line)
    except ValidationError:
        quickly = None

    assert quickly == slowly


@pytest.mark.parametrize(
    "row",
    [b"\xef\xbb\xbf%s", b"%s\x0c", b"%s,", b"%s%s", b'%s "', b"\x00%s"],
    ids=["byte order mark", "form feed", "comma", "twice", "quote", "NUL"],
)
def test_neither_reader_takes_what_is_no_single_record(tmp_path: Path, row: bytes) -> None:
    line = json.dumps(COMPARISON).encode()
    damaged = row % ((line,) * row.count(b"%s"))

    assert _only_quarantined(_tables(tmp_path, prompts=[PROMPT], comparisons=[damaged]))[0] == "schema"


def _damage(line: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(1, len(line))
    return dice.choice(
        [line[:at], line[:at] + b"\xff" + line[at:], line[:at] + b'"' + line[at:], b"[]", line.replace(b"id", b"ie", 1)]
    )
