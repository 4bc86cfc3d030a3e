"""What all importers share: records made so far, rows that could not be used, and how a dialogue gets its split."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from components import records

MARKUP = re.compile("[\x00\ud800-\udfff]|<\\|(?:system|user|assistant|end|pad)\\|>")
"""NUL, half a character, and what the chat template writes between turns."""
LONGEST = 1_000_000
"""Of a dialogue, in characters."""
SHARES: tuple[tuple[records.Split, int], ...] = (("train", 70), ("judge", 10), ("held_out", 10), ("evaluation", 10))
"""Splits by a hash of a dialogue's first message, in percent. Dialogues that grow from one question share a split: else a
longer one would hold the answer to a shorter one that is kept apart."""
KIND = "unknown"


class Malformed(ValueError):  # noqa: N818  (a reason, not a failure)
    """Why a row can't be used."""


@dataclass
class Imported:
    """Records made from rows, and the rows that could not be used."""

    tables: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in records.TABLES})
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0


def check_text(side: str, text: str) -> None:
    """Refuse what is no text, reads as the mark of a turn, or is too long.

    Raises:
        Malformed: It is; `side` names the text.
    """
    found = MARKUP.search(text)
    if found:
        message = f"`{side}` holds {found.group()!r}, which is not text or would be read as the mark of a turn"
        raise Malformed(message)
    if len(text) > LONGEST:
        message = f"`{side}` has {len(text)} characters; at most {LONGEST} are taken"
        raise Malformed(message)


def render(messages: list[dict[str, str]]) -> str:
    """A dialogue as the pipeline's chat template writes it, for pre-training."""
    return "".join(f"<|{message['role']}|>\n{message['content']}<|end|>\n" for message in messages)


def prompt_id(messages: list[dict[str, str]]) -> str:
    """The name of a prompt: a digest of what it asks."""
    return f"p-{hashlib.sha256(render(messages).encode()).hexdigest()[:16]}"


def split_of(opening: str) -> records.Split:
    """The split of a dialogue: a hash of its first message decides."""
    place, edge = int(hashlib.sha256(opening.encode()).hexdigest()[:8], 16) % 100, 0
    for name, share in SHARES:
        edge += share
        if place < edge:
            return name
    raise AssertionError
