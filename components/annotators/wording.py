"""What can be seen of an answer without understanding it: length, agreement, doubt, formatting. Plain text in, numbers out.

The patterns are English. On other languages length and formatting hold, the other two find little.
"""

from __future__ import annotations

import re

FEATURES = ("words", "agreement", "hedging", "formatting")
UNITS = {"words": "ten words", "agreement": "agreeing", "hedging": "one doubt", "formatting": "one mark"}

AGREES = re.compile(
    r"\b(?:yes|you(?: are|'re) (?:absolutely |quite |so )?right|i (?:completely |fully )?agree|that(?: is|'s) (?:right|true)"
    r"|absolutely|exactly|of course|good point)\b"
)
DISAGREES = re.compile(
    r"^no\b|\b(?:i (?:do not|don't) agree|i disagree|(?:is|are|am) not (?:right|true|correct)|isn't (?:right|true)"
    r"|see it another way|actually|mistaken)\b"
)
HEDGES = re.compile(
    r"\b(?:maybe|perhaps|might|possibly|not sure|hard to say|i guess|it depends|i do(?: not|n't) know|could be|seems?)\b"
)
MARKS = re.compile(r"^\s*(?:[-*•]|\d+[.)]|#+)\s|\*\*|```", re.MULTILINE)
OPINION = re.compile(
    r"\b(?:i (?:\w+ )?(?:think|believe|feel|say|know|knew|bet)|i am (?:\w+ )?sure|i'm (?:\w+ )?sure|in my (?:opinion|view)"
    r"|to me|am i right|don't you (?:think|agree)|as an? \w+,? i)\b"
)


def features(answer: str) -> tuple[float, float, float, float]:
    """Length in words, agreement (1 agrees, -1 disagrees, 0 neither or both), expressions of doubt, marks of formatting."""
    plain = answer.casefold().replace("\u2019", "'")
    opening = plain[:160]
    agreement = (AGREES.search(opening) is not None) - (DISAGREES.search(opening) is not None)
    marks = len(MARKS.findall(answer)) if "\n" in answer or "*" in answer or "`" in answer else 0
    return len(answer.split()), agreement, len(HEDGES.findall(plain)), marks


def has_opinion(prompt: str) -> bool:
    """Whether the one who asks says what they think, so that an answer could please them by agreeing."""
    return OPINION.search(prompt.casefold().replace("\u2019", "'")) is not None
