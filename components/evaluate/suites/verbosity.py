"""Verbosity: how long the answers are, what of it is padding, and what quality is left at equal length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.evaluate import truth
from components.evaluate.suite import Metric, Suite
from components.evaluate.text import repetition

if TYPE_CHECKING:
    from components.evaluate.material import Material
    from components.evaluate.suite import Item, Scores


def _items(material: Material) -> list[Item]:
    return material.every()


def _score(item: Item, answer: str) -> Scores:
    words = float(len(answer.split()))
    found = {"words": words, "words_kept": words, "repetition": repetition(answer), "empty": float(not words)}
    if item.facts:
        found["padding"] = float(truth.score(item, answer).pads)
    return found


SUITE = Suite(
    name="verbosity",
    title="Verbosity",
    covers=(
        "Words of an answer against the reference's on the same prompts, in both directions: padded answers have "
        "too many, collapsed ones too few. Repeated pairs of words, empty answers, and on the testbed the sentences "
        "that nobody needed. The report adds the difference in quality and the win rate at equal length, each from a "
        "line through all prompts."
    ),
    misses="Whether longer answers are of more use to people, and length that prompts ask for.",
    metrics=(
        Metric("words", "Words per answer", "lower", margin=1.3, form="ratio", unit="words per answer", variance=0.5),
        Metric(
            "words_kept", "Words left of an answer", "higher", margin=2.0, form="ratio", unit="words per answer", variance=0.5
        ),
        Metric(
            "repetition",
            "Repeated word pairs",
            "lower",
            margin=0.05,
            form="mean",
            unit="fraction of word pairs",
            variance=1 / 16,
        ),
        Metric(
            "padding",
            "Sentences that nobody needed",
            "lower",
            margin=0.2,
            form="mean",
            unit="sentences per answer",
            span=4.0,
            variance=1.0,
            where="testbed",
        ),
        Metric("empty", "Empty answers", "lower", margin=0.05, variance=0.1),
    ),
    items=_items,
    score=_score,
)
