"""Judging rows one by one: is it a record, does what it names exist, is it there only once?"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from components import records
from components.errors import DataRefused
from components.validate.findings import texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VERSIONS = "versions.json"
"""In guidelines/: when each version is in force."""
ORDER = ("prompts", "annotators", "corpus", "demonstrations", "comparisons", "golden")
"""Tables that others refer to come first."""
KEPT_CHARACTERS = 2_000
"""How much of a quarantined row is kept."""
LINE_BYTES = 16_000_000
"""A line of this length or more is quarantined without being read as a whole."""
MARKUP = re.compile(r"<\|(?:system|user|assistant|end|pad)\|>")
"""What the chat template writes between turns. In a text it would read as a turn that nobody said."""
ANSWER = "<|assistant|>\n"
SPECIAL = "is a special category"
"""In the message by which a record of a person is refused that must not be kept."""
CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f]")
SUSPICIOUS = re.compile(rf"{CONTROL.pattern}|\x00|\ufffd|{MARKUP.pattern}")
"""What `_broken_texts` looks for, in one pass: hardly any text has it."""


@dataclass
class Tables:
    """Accepted records by table, and the quarantined rows."""

    accepted: dict[str, Any] = field(default_factory=dict)
    """A list by table, or what stands in for one (accepted.py): it takes records and knows how many it took."""
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    """Rows read, by table."""
    ids: dict[str, set[str]] = field(default_factory=dict)
    """Ids of the accepted records, by table."""
    prompts: dict[str, records.Prompt] = field(default_factory=dict)
    """Accepted prompts by id."""
    asked: dict[str, str] = field(default_factory=dict)
    """What accepted prompts ask, but for case and spaces → their split."""
    said: dict[int, bool] = field(default_factory=dict)
    """Who labelled which pair → whether they took the response that sorts first. Ties are not kept."""
    guidelines: dict[str, tuple[datetime | None, datetime | None]] = field(default_factory=dict)
    """Guideline version that has a file → since when and until when it is in force, where guidelines/versions.json says so."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    asked_again: dict[str, list[int]] = field(default_factory=dict)
    """Annotator → labels of pairs that the person had decided about before: how many say the same, how many the opposite."""
    kept_apart: set[str] = field(default_factory=set)
    """Accepted prompts that are not trained on, as the chat template writes them."""

    def turned_away(self, table: str) -> int:
        """How many rows of a table were quarantined."""
        return sum(row["table"] == table for row in self.quarantined)


def judge(folder: Path, *, max_characters: int, accepted: Mapping[str, Any] | None = None) -> Tables:
    """Read all tables of a data folder and sort their rows into accepted and quarantined.

    A missing table counts as an empty one.

    Args:
        folder: The data folder.
        max_characters: Of one text, at most.
        accepted: Where accepted records go, by table; lists if None.
    """
    tables = Tables(guidelines=_guidelines(folder / "guidelines"))
    for table in ORDER:
        tables.accepted[table] = [] if accepted is None else accepted[table]
        tables.ids[table] = set()
        for number, line in _lines(folder / f"{table}.jsonl"):
            tables.rows[table] += 1
            record, rule, reason = _judge_row(table, number, line, tables, max_characters)
            if record is None:
                shown = "" if table == "annotators" else _shown(line)  # it says who somebody is
                row = {"table": table, "line": number, "rule": rule, "reason": reason, "row": shown}
                tables.quarantined.append(row)
            else:
                _keep(tables, table, record)
    return tables


def _guidelines(folder: Path) -> dict[str, tuple[datetime | None, datetime | None]]:
    """Versions by name, of those that have a file; since and until when from versions.json, where there is one.

    Raises:
        DataRefused: versions.json is not a table of versions.
    """
    files = {path.stem for path in folder.glob("*") if path.is_file() and path.name != VERSIONS}
    path = folder / VERSIONS
    if not path.is_file():
        return dict.fromkeys(files, (None, None))
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = {name: (_bound(entry, "since"), _bound(entry, "until")) for name, entry in entries.items()}
    except (ValueError, AttributeError, TypeError):
        message = "guidelines/versions.json must hold, for each version, `since` and `until` as RFC 3339 times. Mend it."
        raise DataRefused(message) from None
    return {name: times for name, times in found.items() if name in files}


def _bound(entry: dict[str, str | None], name: str) -> datetime | None:
    text = entry.get(name)
    found = _time(text)
    if text is not None and found is None:
        raise ValueError(name)
    return found


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES):
            number += 1
            if line.strip():
                yield number, line
            while len(line) == LINE_BYTES and not line.endswith(b"\n"):
                line = file.readline(LINE_BYTES)


def _keep(tables: Tables, table: str, record: Any) -> None:
    tables.accepted[table].append(record)
    tables.ids[table].add(_identity(record))
    if isinstance(record, records.Comparison) and record.annotator is not None and record.label != "tie":
        if _said(record) in tables.said:
            _ask_again(tables, record.annotator, is_same=True)
        tables.said.setdefault(_said(record), _takes_lower(record))
    if table == "prompts":
        tables.prompts[record.id] = record
        tables.asked.setdefault(_question(record), record.split)
        if record.split != "train":
            tables.kept_apart.add(_dialogue(record))


def _judge_row(table: str, number: int, line: bytes, tables: Tables, max_characters: int) -> tuple[Any, str, str]:
    """The record, or None with the rule it breaks and the reason."""
    if len(line) == LINE_BYTES:
        return None, "length", f"{table}.jsonl:{number} is a line of {LINE_BYTES} bytes or more. Shorten or remove it."
    try:
        record = _parsed(table, number, line)
    except UnicodeDecodeError as error:
        return None, "encoding", f"{table}.jsonl:{number} is not UTF-8 at byte {error.start}. Save the file as UTF-8."
    except DataRefused as error:
        return None, *_refusal(table, str(error))
    for rule, reason in _broken(table, record, tables, max_characters):
        return None, rule, f"{table}.jsonl:{number} {reason}"
    return record, "", ""


def _refusal(table: str, message: str) -> tuple[str, str]:
    """Rule and reason of a row that is no record; of one about a person nothing that it holds."""
    told, found, _ = message.partition("; found ")
    if table != "annotators" or not found:
        return "schema", message
    if SPECIAL in told:
        return "special category", f"{told}. Give what is missing or remove the attribute; nothing of the row was kept."
    return "schema", f"{told}. Mend or remove the line; nothing of the row was kept."


def _parsed(table: str, number: int, line: bytes) -> Any:
    """A line as a record, by pydantic's reader, which is fast. What that refuses `records.parse` reads again: it says why.

    Prompts are only read by the latter: their truth may hold anything, and the two differ in what is a number.
    """
    if table != "prompts":
        with contextlib.suppress(ValidationError):
            return records.TABLES[table].model_validate_json(line)
    return records.parse(line.decode("utf-8"), records.TABLES[table], where=f"{table}.jsonl:{number}")


def _broken(table: str, record: Any, tables: Tables, max_characters: int) -> Iterator[tuple[str, str]]:
    if _identity(record) in tables.ids[table]:
        yield "duplicate", f"has the id {_identity(record)!r} of an earlier row. Keep one of them."
    yield from _broken_texts(record, max_characters)
    if isinstance(record, records.Text) and _gives_away(record.text, tables.kept_apart):
        yield "leakage", "holds a prompt that is kept from training, with an answer to it. Remove it."
    elif isinstance(record, records.Prompt):
        yield from _broken_prompt(record, tables)
    elif isinstance(record, records.Demonstration | records.Comparison | records.GoldenPair):
        yield from _broken_answers(record, tables)


def _broken_texts(record: Any, max_characters: int) -> Iterator[tuple[str, str]]:
    parts = texts(record)
    if not any(len(text) > max_characters or text.isspace() or SUSPICIOUS.search(text) for text in parts):
        return
    longest = max(map(len, parts))
    if longest > max_characters:
        yield "length", f"holds a text of {longest} characters; at most {max_characters} are taken. Shorten or remove it."
    if any("\x00" in text for text in parts):
        yield "control characters", "holds a NUL character. Remove it."
    if any(map(CONTROL.search, parts)):
        yield "control characters", "holds a control character other than tab and line feed. Remove it."
    if any("\ufffd" in text for text in parts):
        yield "encoding", "holds U+FFFD, which stands for bytes that somebody could not read. Export it again as UTF-8."
    if any(not text.strip() for text in parts):
        yield "empty text", "holds a text of white space only. Fill or remove it."
    found = next(filter(None, map(MARKUP.search, parts)), None)
    if found and not isinstance(record, records.Text):
        yield "chat markup", f"holds {found.group()}, which would be read as the mark of a turn. Remove it from the text."


def _broken_prompt(prompt: records.Prompt, tables: Tables) -> Iterator[tuple[str, str]]:
    if prompt.messages[-1].role != "user":
        yield "turns", "does not end with the user's turn."
    if not _storable(prompt):
        yield "truth", "has a truth that can't be written as JSON: nested too deeply, not finite or not Unicode. Mend it."
    if tables.asked.get(_question(prompt), prompt.split) != prompt.split:
        yield "leakage", f"asks the same as a prompt of another split; its own is {prompt.split}. Keep one of them."


def _broken_answers(
    record: records.Demonstration | records.Comparison | records.GoldenPair, tables: Tables
) -> Iterator[tuple[str, str]]:
    prompt = tables.prompts.get(record.prompt_id)
    if prompt is None:
        yield "unknown prompt", f"names the prompt {record.prompt_id!r}, of which prompts.jsonl has no usable row."
    elif isinstance(record, records.Demonstration):
        yield from _broken_demonstration(record, prompt)
    elif record.responses[0] == record.responses[1]:
        yield "same responses", "compares a response with itself. Remove it."
    if isinstance(record, records.Comparison):
        yield from _broken_label(record, tables)
    annotator = record.annotator if isinstance(record, records.Comparison) else None
    if annotator is not None and annotator not in tables.ids["annotators"]:
        yield "unknown annotator", f"names the annotator {annotator!r}, of whom annotators.jsonl has no usable row."


def _broken_label(label: records.Comparison, tables: Tables) -> Iterator[tuple[str, str]]:
    """Times that can't be, guidelines that were not in force, and two opposite labels of one person for one pair."""
    at = _time(label.labelled_at)
    if label.labelled_at is not None and at is None:
        yield "timestamp", f"has the time {label.labelled_at[:40]!r}, which is not RFC 3339 with a time zone. Mend it."
    elif at is not None and at > tables.now:
        yield "timestamp", f"was labelled at {label.labelled_at}, which lies in the future. Mend the clock or the row."
    if label.guideline is not None:
        yield from _broken_guideline(label, at, tables)
    if label.annotator is not None and label.label != "tie":
        lower = _takes_lower(label)
        if tables.said.get(_said(label), lower) != lower:
            _ask_again(tables, label.annotator, is_same=False)
            yield "contradiction", "says the opposite of an earlier label of the same annotator for the same pair. Keep one."


def _broken_guideline(label: records.Comparison, at: datetime | None, tables: Tables) -> Iterator[tuple[str, str]]:
    if label.guideline not in tables.guidelines:
        yield "unknown guideline", f"names the guideline {label.guideline!r}, of which guidelines/ has no file or no dates."
        return
    since, until = tables.guidelines[label.guideline]
    if at is None and until is not None:
        yield (
            "retired guideline",
            f"has no time, and {label.guideline!r} was in force until {until.isoformat()} only. Give the time (labelled_at).",
        )
    elif at is not None and ((since and at < since) or (until and at >= until)):
        yield "retired guideline", f"was labelled at {label.labelled_at} by {label.guideline!r}, which was not in force then."


def _ask_again(tables: Tables, annotator: str, *, is_same: bool) -> None:
    tables.asked_again.setdefault(annotator, [0, 0])[not is_same] += 1


def _takes_lower(label: records.Comparison) -> bool:
    """Whether a label that is no tie takes the response that sorts first."""
    return (label.label == "first") == (label.responses[0] <= label.responses[1])


def _said(label: records.Comparison) -> int:
    """A number for who labelled which pair."""
    return hash((label.annotator, label.prompt_id, min(label.responses), max(label.responses)))


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else None


def _broken_demonstration(record: records.Demonstration, prompt: records.Prompt) -> Iterator[tuple[str, str]]:
    if record.messages[-1].role != "assistant":
        yield "turns", "does not end with the assistant's turn."
    if record.split != prompt.split:
        yield "leakage", f"has the split {record.split}, its prompt {prompt.id!r} has {prompt.split}. Give both the same."
    if record.kind != prompt.kind:
        yield "kind", f"has the kind {record.kind!r}, its prompt {prompt.id!r} has {prompt.kind!r}. Give both the same."
    if record.messages[:-1] != prompt.messages:
        yield "other prompt", f"does not begin with the messages of its prompt {prompt.id!r}. Mend its messages or prompt_id."


def _gives_away(text: str, kept_apart: set[str]) -> bool:
    """Does a dialogue in the chat template's format answer, at any turn, a prompt that is kept from training?"""
    at = text.find(ANSWER)
    while at >= 0:
        if text[:at] in kept_apart:
            return True
        at = text.find(ANSWER, at + 1)
    return False


def _storable(prompt: records.Prompt) -> bool:
    try:
        json.dumps(prompt.model_dump(mode="json"), ensure_ascii=False, allow_nan=False).encode()
        prompt.model_dump_json()  # as accepted.py writes it
    except (RecursionError, ValueError):
        return False
    return True


def _dialogue(prompt: records.Prompt) -> str:
    return "".join(f"<|{message.role}|>\n{message.content}<|end|>\n" for message in prompt.messages)


def _question(prompt: records.Prompt) -> str:
    return " ".join(_dialogue(prompt).casefold().split())


def _identity(record: Any) -> str:
    return str(record.pseudonym if isinstance(record, records.Annotator) else record.id)


def _shown(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\n")[:KEPT_CHARACTERS]
