"""Which column of an export is what: a TOML file, checked before anything is read.

A value is the name of a column; `=TEXT` stands for TEXT in every row. docs/importing.md shows one for each format.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.errors import ConfigRefused
from components.records import is_special

if TYPE_CHECKING:
    from collections.abc import Mapping as Table
    from pathlib import Path


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Part):
    """Columns of a label: what was shown, what was chosen, by whom."""

    prompt: str
    """A text, or a list of messages with `role` and `content`."""
    first: str
    """The answer shown first (left, or above)."""
    second: str
    label: str
    annotator: str = ""
    """Who labelled; empty where the export does not say."""
    strength: str = ""
    """1 to 3."""
    seconds_taken: str = ""
    labelled_at: str = ""
    """RFC 3339 with a time zone."""
    guideline: str = ""
    session: str = ""
    """Is hashed, as it often holds a name."""
    kind: str = ""
    """What the prompt tests."""
    split: str = ""
    """`train`, `judge`, `held_out` or `evaluation`; drawn by a hash of the prompt's first message where empty."""
    first_model: str = ""
    second_model: str = ""
    first_decoding: str = ""
    """How the answer was drawn, e.g. `temperature 0.7`."""
    second_decoding: str = ""
    criteria: dict[str, str] = Field(default_factory=dict)
    """Criterion → column."""


class Labels(_Part):
    """What the column `label` (and criteria) may hold."""

    first: list[str] = Field(min_length=1)
    second: list[str] = Field(min_length=1)
    tie: list[str] = Field(default_factory=list)


class People(_Part):
    """A table of annotators, CSV or JSON lines."""

    file: str
    """Relative to the mapping file."""
    identity: str
    """Column with what `columns.annotator` holds for each label."""
    kind: str = "=human"
    demographics: dict[str, str] = Field(default_factory=dict)
    """Attribute → column."""
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Attribute → what the column holds → what is kept: to broaden bands, or to name "prefer not to say"."""
    guidelines: str = ""
    """Versions trained on, separated by spaces or commas."""
    platform: str = ""
    pay_band: str = ""
    lawful_basis: str = ""
    special_category_ground: str = ""
    consent_reference: str = ""
    consented_at: str = ""
    retained_until: str = ""

    @model_validator(mode="after")
    def _special_categories_need_a_ground(self) -> People:
        kept = sorted(filter(is_special, self.demographics))
        if kept and not self.special_category_ground:
            message = (
                f"demographics names {', '.join(kept)}, a special category (GDPR, Art. 9), and special_category_ground is "
                "empty; name the ground or leave the attribute out"
            )
            raise ValueError(message)
        return self


class Mapping(_Part):
    """The whole file."""

    columns: Columns
    labels: Labels
    annotators: People | None = None


LABEL_STUDIO: dict[str, Any] = {
    "columns": {
        "prompt": "prompt",
        "first": "answer1",
        "second": "answer2",
        "label": "comparison",
        "annotator": "completed_by",
        "seconds_taken": "lead_time",
        "labelled_at": "created_at",
    },
    "labels": {"first": ["left"], "second": ["right"]},
}
"""Names in Label Studio's template for human preferences, https://labelstud.io/templates/generative-pairwise-human-preference"""
DEFAULTS: Table[str, dict[str, Any]] = {
    "label-studio": LABEL_STUDIO,
    "argilla": {"columns": {"annotator": "user_id"}},
    "table": {},
}


def load(path: Path | None, *, format_: str) -> Mapping:
    """The mapping of a file over the defaults of a format.

    Raises:
        ConfigRefused: The file is missing, no TOML, or names what no mapping has; all problems are listed.
    """
    given: dict[str, Any] = {}
    if path is not None:
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            message = f"{path} can't be read as TOML: {error}. docs/importing.md shows a mapping for each format."
            raise ConfigRefused(message) from None
    made = {
        name: DEFAULTS[format_].get(name, {}) | value if isinstance(value, dict) else value for name, value in given.items()
    }
    try:
        return Mapping.model_validate(DEFAULTS[format_] | made)
    except ValidationError as error:
        told = "; ".join(
            f"{' > '.join(map(str, item['loc'])) or 'mapping'}: {item['msg']}" for item in error.errors(include_url=False)
        )
        where = path or f"The mapping of {format_}"
        message = f"{where} is no mapping: {told}. docs/importing.md shows a mapping for each format."
        raise ConfigRefused(message) from None
