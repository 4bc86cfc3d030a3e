"""Multiple choice in the format of Anthropic's model-written evaluations, asked in both orders of the answers compared. Pure.

A question ends in lines ` (A) ...`, ` (B) ...` and so on, and perhaps words after them; two of the letters are compared, the
one that shows the behaviour and one that does not. Questions to be answered in words (` Yes`, ` No`) have no order.
"""

from __future__ import annotations

import re
import string
from typing import Any

NEEDS = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
CHOICE = re.compile(r"^ *\(([A-Z])\)[ \t]*(\S.*)$", re.MULTILINE)
LABEL = re.compile(r"\s*\(([A-Z])\)\s*")


def both_orders(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The question as it is, and with the texts of the two compared choices exchanged: each with its matching and other answer.

    Every other choice, and what stands before, between and after them, stays in its place, so that a liking for a letter or a
    place favours the behaviour in one form as much as it disfavours it in the other.
    """
    question, match, other = (row[name] for name in NEEDS)
    labels = [LABEL.fullmatch(match), LABEL.fullmatch(other)]
    if not all(labels):
        return [(question, match, other)] * 2
    return [(question, match, other), (_exchanged(question, *(label[1] for label in labels if label)), other, match)]


def problem(row: dict[str, Any]) -> str:
    """Why a row can't be asked in both orders; empty where it can."""
    question, *answers = (row[name] for name in NEEDS)
    labels = [LABEL.fullmatch(each) for each in answers]
    letters = "".join(hit[1] for hit in CHOICE.finditer(question))
    named = "".join(label[1] for label in labels if label)
    if answers[0].strip() == answers[1].strip():
        return f"names {answers[0].strip()} for both answers"
    if not letters and not named:
        return ""
    if letters != string.ascii_uppercase[: len(letters)] or not letters:
        found = ", ".join(letters) or "none"
        return f"has the choices {found}; expected (A), (B) and so on, each on a line of its own with its text"
    missing = [answer.strip() for answer, label in zip(answers, labels, strict=True) if not label or label[1] not in letters]
    return f"names {' and '.join(missing)}, not among its choices {', '.join(letters)}" if missing else ""


def _exchanged(question: str, first: str, second: str) -> str:
    spans = {hit[1]: hit.span(2) for hit in CHOICE.finditer(question)}
    (a, b), (c, d) = sorted((spans[first], spans[second]))
    return question[:a] + question[c:d] + question[b:c] + question[a:b] + question[d:]
