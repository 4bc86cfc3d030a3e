"""Labels of people into our records, by a mapping, with pseudonyms in the place of identities.

Files are read twice: first for who labelled, so that no text that names one of them is taken, then for the labels. Of a
row that can't be used, file, line and reason are kept and nothing else: the row itself would say who labelled.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from components import records
from components.importers import table
from components.importers.rows import KIND, Imported, Malformed, check_text, prompt_id, render, split_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from components.importers.identities import Identities
    from components.importers.label_studio import Vote
    from components.importers.mapping import Mapping, People
    from components.importers.table import Row

    Reader = Callable[[Path], Iterator[Vote]]

NAMED = "holds the identity of an annotator, which would reach the records; reword or remove it"
Liked = dict[str, Counter[str]]
"""Prompt → answer → how often preferred, less how often not."""


def of_table(path: Path) -> Iterator[Vote]:
    """Rows of a CSV or JSON-lines file, one label each."""
    for number, row in table.rows(path):
        yield number, 1, row


@dataclass
class Import:
    """One import under way."""

    mapping: Mapping
    identities: Identities
    source: str
    """Format, for demonstrations."""
    made: Imported = field(default_factory=Imported)
    liked: Liked = field(default_factory=dict)

    def people(self, path: Path, people: People, *, name: str) -> None:
        """Read the table of annotators; `name` stands for it in reasons."""
        for number, row in table.rows(path):
            self.made.rows += 1
            try:
                if isinstance(row, Malformed):
                    raise row
                self._add_person(self._person(row, people))
            except Malformed as reason:
                self._turn_away(name, number, str(reason))

    def remember(self, read: Reader, paths: dict[str, Path], people: Path | None) -> None:
        """Learn who labelled, before any text is taken."""
        annotator = self.mapping.columns.annotator
        for path in paths.values() if annotator else ():
            for _, _, row in read(path):
                self._remember(row, annotator)
        if people is not None and self.mapping.annotators:
            for _, row in table.rows(people):
                self._remember(row, self.mapping.annotators.identity)

    def labels(self, read: Reader, name: str, path: Path) -> None:
        """Read the labels of one file."""
        for place, part, row in read(path):
            self.made.rows += 1
            try:
                if isinstance(row, Malformed):
                    raise row
                self._label(row, f"{name}-{place:06d}" if read is of_table else f"{name}-{place:06d}-{part:02d}")
            except Malformed as reason:
                self._turn_away(name, place, str(reason) if read is of_table else f"annotation {part}: {reason}")

    def finish(self) -> Imported:
        """Make a demonstration of every prompt's most preferred answer, and texts to pre-train on."""
        for prompt in self.made.tables["prompts"].values():
            asked = [message.model_dump() for message in prompt.messages]
            ranked = self.liked.get(prompt.id, Counter()).most_common(2)
            for number, answer in enumerate(self.liked.get(prompt.id, {}), start=1):
                if prompt.split == "train":
                    text = render([*asked, {"role": "assistant", "content": answer}])
                    name = f"{prompt.id}-{number:02d}"
                    self.made.tables["corpus"][name] = records.Text(id=name, text=text)
            if ranked and ranked[0][1] > 0 and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
                told = [*prompt.messages, records.Message(role="assistant", content=ranked[0][0])]
                self.made.tables["demonstrations"][prompt.id] = records.Demonstration(
                    id=f"d-{prompt.id}",
                    prompt_id=prompt.id,
                    kind=prompt.kind,
                    split=prompt.split,
                    messages=told,
                    source=f"{self.source}, preferred",
                )
        return self.made

    def _remember(self, row: Row | Malformed, column: str) -> None:
        if not isinstance(row, Malformed):
            with suppress(Malformed):  # a row without an identity is turned away when it is read for its label
                identity = _text(row, column)
                if identity:
                    self.identities.remember(identity)

    def _turn_away(self, name: str, number: int, reason: str) -> None:
        self.made.quarantined.append({"file": name, "line": number, "reason": reason, "row": ""})

    def _refuse_named(self, record: records.Record) -> None:
        if self.identities.named_in(json.dumps(record.model_dump(mode="json"), ensure_ascii=False)):
            raise Malformed(NAMED)

    def _add_person(self, person: records.Annotator) -> None:
        if person.pseudonym in self.made.tables["annotators"]:
            message = "has the identity of an earlier row"
            raise Malformed(message)
        self._refuse_named(person)
        self.made.tables["annotators"][person.pseudonym] = person

    def _label(self, row: Row, name: str) -> None:
        columns = self.mapping.columns
        messages = _messages(row, columns.prompt)
        answers = (_needed(row, columns.first), _needed(row, columns.second))
        for column, text in zip((columns.first, columns.second), answers, strict=True):
            check_text(column, text)
        if answers[0] == answers[1]:
            message = "the two answers are the same"
            raise Malformed(message)
        prompt = _prompt(row, messages, columns.kind, columns.split)
        models = (_text(row, columns.first_model), _text(row, columns.second_model))
        decodings = (_text(row, columns.first_decoding), _text(row, columns.second_decoding))
        who, session = _text(row, columns.annotator), _text(row, columns.session)
        comparison = _made(
            records.Comparison,
            id=name,
            prompt_id=prompt.id,
            responses=answers,
            label=self._choice(row, columns.label),
            strength=_whole(row, columns.strength),
            criteria={criterion: self._choice(row, column) for criterion, column in columns.criteria.items()},
            annotator=self.identities.pseudonym(who) if who else None,
            seconds_taken=_number(row, columns.seconds_taken),
            labelled_at=_time(row, columns.labelled_at),
            guideline=_text(row, columns.guideline),
            session=self.identities.pseudonym(session, kind="s") if session else None,
            response_models=models if all(models) else None,
            response_decodings=decodings if all(decodings) else None,
        )
        self._refuse_named(comparison)
        self._refuse_named(prompt)
        self.made.tables["comparisons"][name] = comparison
        self.made.tables["prompts"].setdefault(prompt.id, prompt)
        if comparison.annotator and comparison.annotator not in self.made.tables["annotators"]:
            unknown = records.Annotator(pseudonym=comparison.annotator, kind="human")
            self.made.tables["annotators"][comparison.annotator] = unknown
        liked = self.liked.setdefault(prompt.id, Counter())
        for answer, side in zip(answers, ("first", "second"), strict=True):
            liked[answer] += 0 if comparison.label == "tie" else 1 if comparison.label == side else -1

    def _choice(self, row: Row, column: str) -> str:
        said = _needed(row, column)
        for choice, texts in self.mapping.labels:
            if said in texts:
                return str(choice)
        message = f"`{column}` holds none of the labels that the mapping names"
        raise Malformed(message)

    def _person(self, row: Row, people: People) -> records.Annotator:
        held = {attribute: _text(row, column) or "" for attribute, column in people.demographics.items()}
        kept = {attribute: people.values.get(attribute, {}).get(value, value) for attribute, value in held.items()}
        return _made(
            records.Annotator,
            pseudonym=self.identities.pseudonym(_needed(row, people.identity)),
            kind=_text(row, people.kind) or "human",
            demographics={attribute: value for attribute, value in kept.items() if value},
            guidelines=(_text(row, people.guidelines) or "").replace(",", " ").split(),
            platform=_text(row, people.platform),
            pay_band=_text(row, people.pay_band),
            lawful_basis=_text(row, people.lawful_basis),
            special_category_ground=_text(row, people.special_category_ground),
            consent_reference=_text(row, people.consent_reference),
            consented_at=_time(row, people.consented_at, is_day=True),
            retained_until=_time(row, people.retained_until, is_day=True),
        )


def _prompt(row: Row, messages: list[dict[str, str]], kind: str, split: str) -> records.Prompt:
    given = _text(row, split) or split_of(render(messages[:1]))
    if given not in get_args(records.Split):
        message = f"`{split}` holds no split: one of {', '.join(get_args(records.Split))}"
        raise Malformed(message)
    return _made(records.Prompt, id=prompt_id(messages), kind=_text(row, kind) or KIND, split=given, messages=messages)


def _made(record: type[Any], **values: Any) -> Any:
    """A record.

    Raises:
        Malformed: The values don't make one; says which field and why, not what it holds.
    """
    try:
        return record.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field_ = " > ".join(map(str, first["loc"])) or record.__name__.lower()
        message = f"{field_}: {first['msg']}"
        raise Malformed(message) from None


def _messages(row: Row, column: str) -> list[dict[str, str]]:
    value = row.get(column)
    if not isinstance(value, list):
        value = [{"role": "user", "content": _needed(row, column)}]
    if not all(isinstance(turn, dict) and turn.keys() >= {"role", "content"} for turn in value) or not value:
        message = f"`{column}` must be a text or a list of messages with `role` and `content`"
        raise Malformed(message)
    turns = [{"role": turn["role"], "content": str(turn["content"]).strip()} for turn in value]
    for turn in turns:
        check_text(column, turn["content"])
    if turns[-1]["role"] != "user":
        message = f"`{column}` does not end with the user's turn"
        raise Malformed(message)
    return turns


def _text(row: Row, column: str) -> str | None:
    """What a column holds, None where it is empty; what follows `=` where the mapping says so.

    Raises:
        Malformed: There is no such column, or it holds a list, an object or what is no text.
    """
    if not column or column.startswith("="):
        return column.removeprefix("=").strip() or None
    if column not in row:
        message = f"has no column `{column}`"
        raise Malformed(message)
    value = row[column]
    if isinstance(value, dict | list):
        message = f"`{column}` holds a list or an object where a text is expected"
        raise Malformed(message)
    if value is None:
        return None
    check_text(column, str(value))
    return str(value).strip() or None


def _needed(row: Row, column: str) -> str:
    value = _text(row, column)
    if value is None:
        message = f"`{column}` is empty"
        raise Malformed(message)
    return value


def _number(row: Row, column: str) -> float | None:
    value = _text(row, column)
    try:
        found = None if value is None else float(value)
    except ValueError:
        found = math.nan
    if found is not None and not math.isfinite(found):
        message = f"`{column}` holds no number"
        raise Malformed(message)
    return found


def _whole(row: Row, column: str) -> int | None:
    value = _number(row, column)
    if value is not None and value != int(value):
        message = f"`{column}` holds no whole number"
        raise Malformed(message)
    return None if value is None else int(value)


def _time(row: Row, column: str, *, is_day: bool = False) -> str | None:
    value = _text(row, column)
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None and is_day:
            found = found.replace(tzinfo=UTC)
        utc = found.astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"`{column}` holds no time in the format of RFC 3339"
        raise Malformed(message) from None
    if found.tzinfo is None:
        message = f"`{column}` holds a time without a time zone"
        raise Malformed(message)
    return utc.isoformat()
