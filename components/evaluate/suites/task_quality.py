"""Task quality: how good the answers are, by the gold function where the truth is known, else by a held-out judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.errors import DataRefused
from components.evaluate import truth
from components.evaluate.suite import Found, Metric, Suite, asked

if TYPE_CHECKING:
    from components.evaluate.material import Material
    from components.evaluate.panel import Asker
    from components.evaluate.suite import Item, Scores


def _measure(material: Material, asker: Asker) -> Found:
    items = material.every()
    if material.is_testbed:
        return asked(items, asker, _gold, metrics=["utility", "correct"])
    if material.judge is None or isinstance(material.judge, str):
        raise DataRefused(material.judge or "there is no held-out judge")
    answers = asker.answers([item.messages for item in items])
    dialogues = [item.messages for item in items]
    draws = [material.judge.score(dialogues, [said[draw] for said in answers]) for draw in range(asker.how.draws)]
    return Found(items, answers, {"judged": np.stack(draws, axis=1)}, are_replies=True)


def _gold(item: Item, answer: str) -> Scores:
    mark = truth.score(item, answer)
    return {"utility": mark.utility, "correct": float(mark.correct is True)}


SUITE = Suite(
    name="task_quality",
    title="Task quality",
    covers=(
        "All prompts of the split `evaluation`. On the testbed, with further ones of every kind, the gold function scores "
        "every answer from -1 to 1; elsewhere a judge that no training saw compares the candidate's answers with the "
        "reference's, and its own accuracy stands beside the result."
    ),
    misses=(
        "How a loss is spread: one kind of prompt may get worse while another gets better (see the table by "
        "kind). Prompts unlike "
        "those of the split. Where a judge compares: truth; a weak judge mostly sees style."
    ),
    metrics=(
        Metric(
            "utility",
            "Gold utility",
            "higher",
            margin=0.1,
            form="mean",
            unit="gold utility",
            span=2.0,
            variance=4 / 9,
            where="testbed",
        ),
        Metric("correct", "Correct answers", "higher", where="testbed"),
        Metric(
            "judged",
            "Preferred by the held-out judge",
            "higher",
            margin=0.1,
            form="wins",
            unit="win rate minus one half",
            where="elsewhere",
        ),
    ),
    measure=_measure,
)
