"""The records of preference data: one JSON object a line, one table a file.

| file | record |
| --- | --- |
| corpus.jsonl | `Text`: plain text to pre-train a base model on, where one is trained from scratch |
| demonstrations.jsonl | `Demonstration`: a dialogue whose last turn is a good answer |
| comparisons.jsonl | `Comparison`: two answers in the order shown, and who preferred which |
| golden.jsonl | `GoldenPair`: two answers of which the better one is known |
| prompts.jsonl | `Prompt`: what to answer, by kind and split |
| annotators.jsonl | `Annotator`: who compared |

Splits keep what a number is measured on apart from what was trained on: `train`; `judge`, reserved for a held-out
judge; `held_out`, for the reward model's report; `evaluation`, for the release gates. A prompt has one split, and
whatever is made from the prompt shares it.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.errors import DataRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

Split = Literal["train", "judge", "held_out", "evaluation"]
Label = Literal["first", "second", "tie"]
Id = Annotated[str, Field(min_length=1, max_length=200)]
DAY = re.compile(r"\d{4}-\d\d-\d\d")
Words = Annotated[str, Field(min_length=1, max_length=1_000_000)]


def moment(text: str) -> datetime:
    """A time of RFC 3339 with a zone, or a day, which begins at midnight UTC.

    Raises:
        ValueError: It is neither.
    """
    try:
        found = datetime.fromisoformat(f"{text}T00:00:00Z" if DAY.fullmatch(text) else text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        message = "must be a day or a time with a time zone (RFC 3339)"
        raise ValueError(message)
    return found


def _dated(text: str) -> str:
    moment(text)
    return text


When = Annotated[str, AfterValidator(_dated)]
"""A time or a day, see `moment`."""


class Record(BaseModel):
    """Base of all records: immutable, nothing unknown, nothing guessed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Message(Record):
    """One turn of a dialogue."""

    role: Literal["system", "user", "assistant"]
    content: Words


class Text(Record):
    """A passage of plain text, or a dialogue, for pre-training."""

    id: Id
    text: Words


class Prompt(Record):
    """A dialogue that waits for an answer. The last turn is the user's."""

    id: Id
    kind: Id
    """What it tests, e.g. `sycophancy`; `unknown` where nobody said."""
    split: Split
    messages: list[Message] = Field(min_length=1)
    truth: dict[str, Any] | None = None
    """What the gold function needs to score an answer. Only the testbed knows it."""


class Demonstration(Record):
    """A dialogue whose last turn, the assistant's, is worth imitating."""

    id: Id
    prompt_id: Id
    kind: Id
    split: Split
    messages: list[Message] = Field(min_length=2)
    source: Id
    """Who wrote the answer: a person, a dataset, a model."""


class Comparison(Record):
    """One annotator's preference between two answers to one prompt."""

    id: Id
    prompt_id: Id
    responses: tuple[Words, Words] = Field(strict=False)
    """In the order shown."""
    label: Label
    strength: int | None = Field(None, ge=1, le=3)
    """1 slightly, 2 clearly, 3 far better; None for a tie or where nobody asked."""
    criteria: dict[str, Label] = Field(default_factory=dict)
    """Preference by criterion, e.g. `honest`, where it was asked for."""
    annotator: Id | None
    """Pseudonym, or None where the source does not say who."""
    seconds_taken: float | None = Field(None, ge=0)
    labelled_at: str | None = None
    """UTC, RFC 3339."""
    guideline: Id | None = None
    """Version of the guideline that the annotator worked by."""
    session: Id | None = None
    response_models: tuple[Id, Id] | None = Field(None, strict=False)
    """Which model wrote each response, where known."""
    response_decodings: tuple[Id, Id] | None = Field(None, strict=False, exclude_if=lambda value: value is None)
    """How each response was drawn, where known, e.g. `temperature 0.7, top_p 0.9`; else it is not written, so that data from
    before it could be said keep their bytes."""


class GoldenPair(Record):
    """Two answers of which the better one is known, to check reward models and annotators."""

    id: Id
    prompt_id: Id
    responses: tuple[Words, Words] = Field(strict=False)
    better: Literal["first", "second"]
    margin: float | None = None
    """How much better, in units of the gold function."""


SPECIAL_CATEGORY = re.compile(
    r"(?<![a-z])(?:race|racial|ethnic|ancest|caste(?![a-z])|trib(?:e|al)|indigen|skin"
    r"|politic|ideolog|vote|voting|party|parties"
    r"|relig|belief|faith|creed|denomination|church|mosque|synagogue|worship|philosoph|(?:(?:trade|labou?r).?)?union"
    r"|genetic|genom|dna(?![a-z])|biometric|fingerprint"
    r"|health|mental|medic|disab|handicap|impair|illness|disease|diagnos|hiv(?!e)|pregnan|therap|psychiatr|neurodiver|autis|vaccin"
    r"|sex.?life|sexual|(?:homo|hetero|bi)sexual|orientation|lgbt|queer|trans.?(?:gender|sexual))"
)
"""How attributes of special categories are named (GDPR, Art. 9): a word of the name begins so. Names in languages other than
English, and names of somebody's own making, are not known by it: whoever maps columns has to know what they hold."""
WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where `camelCase` begins a word."""
CONSENT = "9(2)(a) explicit consent"
UNDISCLOSED = "prefer not to say"


def is_special(attribute: str) -> bool:
    """Whether an attribute of people is of a special category, by its name."""
    return SPECIAL_CATEGORY.search(WORD_STARTS.sub(" ", attribute).casefold()) is not None


class Annotator(Record):
    """Who labels. A pseudonym and what was declared, never a name.

    A special category needs its ground, and consent its reference and time: without them the record is refused. Only "prefer
    not to say" may stand without.
    """

    pseudonym: Id
    kind: Literal["human", "ai", "simulated"]
    demographics: dict[str, str] = Field(default_factory=dict)
    """Attribute → value, e.g. `age_band: 30-39`; "prefer not to say" is a value."""
    guidelines: list[Id] = Field(default_factory=list)
    """Guideline versions trained on."""
    platform: str | None = None
    pay_band: str | None = None
    lawful_basis: str | None = None
    special_category_ground: Literal["9(2)(a) explicit consent", "9(2)(j) research or statistics", "AI Act 4a"] | None = None
    """Ground for keeping special categories of data; None where none are kept."""
    consent_reference: str | None = None
    consented_at: When | None = None
    retained_until: When | None = None
    """The person's data are to be gone from here on."""

    @model_validator(mode="after")
    def _special_categories_have_a_ground(self) -> Annotator:
        kept = sorted(name for name, value in self.demographics.items() if is_special(name) and value != UNDISCLOSED)
        if kept and self.special_category_ground is None:
            message = f"{', '.join(kept)} is a special category (GDPR, Art. 9) and special_category_ground is empty"
            raise ValueError(message)
        if kept and self.special_category_ground == CONSENT and not (self.consent_reference and self.consented_at):
            message = (
                f"{', '.join(kept)} is a special category (GDPR, Art. 9), its ground is consent, and consent_reference or "
                "consented_at is empty"
            )
            raise ValueError(message)
        return self


class Decision(Record):
    """What a person decided about an annotator's labels; the last one counts. Beside annotators.jsonl, in decisions.jsonl."""

    annotator: Id
    decision: Literal["exclude", "keep"]
    by: Id
    """Name and role of whoever decided."""
    reason: Words
    decided_at: str
    """UTC, RFC 3339."""


R = TypeVar("R", bound=Record)

TABLES: dict[str, type[Record]] = {
    "corpus": Text,
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "golden": GoldenPair,
    "prompts": Prompt,
    "annotators": Annotator,
}
"""Table → record. The file is `TABLE.jsonl`, in the data folder and in the artifact of the same name."""


def parse(line: str, record: type[R], *, where: str) -> R:
    """One line as a record.

    Raises:
        DataRefused: The line is not JSON, or not such a record; names `where`, the field and what was found.
    """
    try:
        return record.model_validate(json.loads(line.rstrip("\r\n"), parse_constant=_refuse_constant))
    except json.JSONDecodeError as error:
        message = f"{where} is not JSON: {error.msg} at column {error.colno}. Mend or remove the line."
        raise DataRefused(message) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = " > ".join(str(part) for part in first["loc"]) or "record"
        message = f"{where} > {field}: {first['msg']}; found {_shown(first['input'])!r}. Mend or remove the line."
        raise DataRefused(message) from None
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        reason = "it is nested too deeply" if deep else "a number in it is not finite or too long"
        message = f"{where} is not a record: {reason}. Mend or remove the line."
        raise DataRefused(message) from None


def pair_id(prompt: str, responses: Sequence[str]) -> str:
    """The name of two responses to a prompt, the same in whatever order they were shown: `PROMPT:HEX`.

    The pair's first response is the one that sorts first as text.
    """
    first, second = sorted(responses)
    digest = hashlib.sha256(f"{len(first)}:{first}{second}".encode(errors="surrogatepass")).hexdigest()
    return f"{prompt}:{digest[:16]}"


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _shown(value: Any) -> str:
    try:
        return str(value)[:80]
    except RecursionError:
        return "something nested too deeply"


def read(path: Path, record: type[R]) -> Iterator[R]:
    """The records of a JSON-lines file, in order.

    Raises:
        DataRefused: A line is not such a record; names file and line.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            yield parse(line, record, where=f"{path.name}:{number}")


def write(path: Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines with sorted keys, and say how many. Same records, same bytes."""
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record.model_dump(mode="json"), ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count
