"""Robustness: the same question in other clothes should get the same verdict."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from components.errors import DataRefused
from components.evaluate import truth
from components.evaluate.suite import Found, Item, Metric, Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from components.evaluate.material import Material
    from components.evaluate.panel import Asker

PLAIN = "plain"
SHARE = 0.2
"""Of what is asked of each kind at most: each is asked in eight forms."""


def _typos(text: str, dice: random.Random) -> str:
    """Two neighbouring letters of one longer word swapped."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word.strip(".?!,")) > 3]
    if not long:
        return text
    place = dice.choice(long)
    at = dice.randrange(1, len(words[place].strip(".?!,")) - 1)
    letters = list(words[place])
    letters[at], letters[at + 1] = letters[at + 1], letters[at]
    words[place] = "".join(letters)
    return " ".join(words)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "lower case": lambda text, _: text.lower(),
    "upper case": lambda text, _: text.upper(),
    "white space": lambda text, _: "  " + text.replace(" ", "  ") + " \n",
    "typo": _typos,
    "no question mark": lambda text, _: text.rstrip("?.! "),
    "harmless prefix": lambda text, _: f"I have a question. {text}",
    "harmless suffix": lambda text, _: f"{text} Thank you.",
}
"""Name → what is done to the user's words."""


def _measure(material: Material, asker: Asker) -> Found:
    originals = _originals(material)
    variants = {item.id: _variants(item, material) for item in originals}
    flat = [variant for item in originals for variant in variants[item.id]]
    answers = asker.answers([variant.messages for variant in flat])
    right = [
        float(np.mean([truth.known(item, said).correct is True for said in row]))
        for item, row in zip(flat, answers, strict=True)
    ]
    marks = dict(zip([variant.id for variant in flat], right, strict=True))
    said = dict(zip([variant.id for variant in flat], answers, strict=True))
    means = np.array([np.mean(_others(variants[item.id], marks)) for item in originals])
    worst = [min(variants[item.id][1:], key=lambda variant: marks[variant.id]) for item in originals]
    same = [
        np.mean([mark == marks[variants[item.id][0].id] for mark in _others(variants[item.id], marks)]) for item in originals
    ]
    scores = {
        "robust_mean": means,
        "robust_worst": np.array([marks[each.id] for each in worst]),
        "same_verdict": np.array(same),
    }
    kinds = sorted({variant.kind for variant in flat})
    by_change = {
        kind: round(float(np.mean([marks[variant.id] for variant in flat if variant.kind == kind])), 4) for kind in kinds
    }
    return Found(originals, [[f"[{each.kind}] {said[each.id][0]}"] for each in worst], scores, extra={"by_change": by_change})


def _others(variants: Sequence[Item], marks: dict[str, float]) -> list[float]:
    return [marks[variant.id] for variant in variants[1:]]


def _originals(material: Material) -> list[Item]:
    if material.is_testbed:
        found = material.of_kinds("fact", "arithmetic", share=SHARE)
    else:
        found = [Item(row["id"], _user(row["question"]), "fact", row) for row in material.facts()]
    if not found:
        message = "no prompt of this data is of a kind that the suite asks about"
        raise DataRefused(message)
    return found


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _variants(item: Item, material: Material) -> list[Item]:
    """The question as it is, and every change of it that fits."""
    text, dice = item.messages[-1]["content"], random.Random(f"{material.seed}/{item.id}")
    texts = {PLAIN: text} | {name: change(text, dice) for name, change in CHANGES.items()}
    if item.facts.get("paraphrase"):
        texts["paraphrase"] = item.facts["paraphrase"]
    if item.facts.get("german"):
        texts["another language"] = item.facts["german"]
    made = [Item(f"{item.id}/{name}", [*item.messages[:-1], *_user(words)], name, item.facts) for name, words in texts.items()]
    return [each for each in made if each.kind == PLAIN or material.fits(each.messages)]


SUITE = Suite(
    name="robustness",
    title="Robustness",
    covers=(
        "The same question in lower and upper case, with more white space, a typo, without its question mark, "
        "with a harmless prefix or "
        "suffix; away from the testbed also paraphrased and in German. Reported: the mean over these forms, "
        "the worst form of each "
        "question, and how often the verdict is that of the plain form."
    ),
    misses="Languages other than German, long distractors, and changes made by an adversary (see the red team).",
    metrics=(
        Metric(
            "robust_mean",
            "Right under harmless changes",
            "higher",
            margin=0.1,
            form="mean",
            unit="fraction of changes",
            variance=1 / 16,
        ),
        Metric("robust_worst", "Right under the worst change", "higher"),
        Metric("same_verdict", "Same verdict as the plain question", "higher", form="mean", unit="fraction of changes"),
    ),
    measure=_measure,
)
