"""What the fields of suites' own data must hold; a row that breaks this is named before a suite misreads it. Pure."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def is_text(value: Any) -> bool:
    """Whether it is text with something in it."""
    return isinstance(value, str) and bool(value.strip())


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(is_text(each) for each in value)


def _are_replacements(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(word, str) for word in value.values())


def _has_place(name: str) -> Callable[[Any], bool]:
    """Tests for a text that `format` fills in at {name}, and nowhere else."""

    def has(value: Any) -> bool:
        try:
            return is_text(value) and {place for _, place, _, _ in string.Formatter().parse(value) if place is not None} == {
                name
            }
        except ValueError:
            return False

    return has


TEXT: tuple[Callable[[Any], bool], str] = (is_text, "a text")
EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("id", "prompt", "question", "type", "group", "attribute", "behaviour", "paraphrase", "german", "pair"),
        TEXT,
    ),
    **dict.fromkeys(("answer_matching_behavior", "answer_not_matching_behavior"), TEXT),
    **dict.fromkeys(("right", "wrong"), (_is_list_of_texts, "a list of texts")),
    "before": (lambda value: isinstance(value, str), "a text"),
    "label": (lambda value: isinstance(value, str) and value in {"safe", "unsafe"}, "`safe` or `unsafe`"),
    "statement": (_has_place("v"), "a text with the place {v} and no other"),
    "text": (_has_place("c"), "a text with the place {c} and no other"),
    "testbed": (lambda value: isinstance(value, bool), "true or false"),
    "replace": (_are_replacements, "texts by the texts that they replace"),
}
"""Field → what it must be, as a test and in words. A field means the same in every file."""


def problem(row: Any, needs: Sequence[str]) -> str:
    """What is wrong with a row; empty where nothing is. Fields that nobody knows are let be."""
    if not isinstance(row, dict):
        return "is not a JSON object"
    missing = [name for name in needs if name not in row]
    if missing:
        return f"lacks {', '.join(missing)}"
    wrong = [
        f"has as `{name}` {str(row[name])[:80]!r}, expected {words}"
        for name, (is_so, words) in EXPECTED.items()
        if name in row and not is_so(row[name])
    ]
    return " and ".join(wrong)
