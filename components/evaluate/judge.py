"""A held-out judge: a reward model of text that was not used in training, learnt from comparisons that no training saw.

Bradley and Terry's model, linear in TF-IDF of words and word pairs: logistic regression on the difference of two answers. It
is small and weak on purpose: it shares no weights with policy and reward model, so it can't have learnt their mistakes. The
judge of `reward` chooses the policy in `ppo`, so it is not held out here. Its accuracy on further comparisons is reported with
every result, and what it can't tell apart is no reason to pass a candidate: see `sharpness`.
What it does not cover: it sees the answers, not the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate.statistics import Interval, wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from components.evaluate.statistics import Numbers
    from components.models import Dialogue

FEWEST = 20
"""Comparisons, to learn from and to be checked on."""

Pair = tuple[str, str]
"""The preferred answer, and the other."""


@dataclass(frozen=True)
class Judge:
    """A fitted judge and how far it can be trusted."""

    terms: Any
    weights: Numbers
    accuracy: Interval
    """On comparisons of the split `held_out`."""
    fitted_on: int
    """Comparisons of the split `judge`."""

    @property
    def method(self) -> str:
        """How it judges, for a reader."""
        return "reward model not used in training: Bradley-Terry, linear in TF-IDF of words and word pairs"

    @property
    def beats_chance(self) -> bool:
        """Whether the interval of its accuracy lies above one half."""
        return self.accuracy.low > 0.5

    @property
    def sharpness(self) -> float:
        """How much of a true preference is left in this judge's, at the least: 2a - 1, from 0 (guesses) to 1.

        Who loses a share ½ + d of true comparisons loses ½ + (2a - 1) d by a judge that is right with probability a, whoever
        spoke (Rogan and Gladen 1978, https://doi.org/10.1093/oxfordjournals.aje.a112510). a is the low end of its interval.
        """
        return max(0.0, 2 * self.accuracy.low - 1)

    def score(self, dialogues: Sequence[Dialogue], answers: Sequence[str]) -> Numbers:
        """(N) one number an answer: the higher, the more preferred. This judge does not read the dialogues."""
        assert len(dialogues) == len(answers), "one answer to each dialogue"
        return np.asarray(self.terms.transform(answers) @ self.weights)


def fit(training: Sequence[Pair], checking: Sequence[Pair], *, seed: int) -> Judge | str:
    """A judge, or why there is none.

    Args:
        training: Comparisons of the split `judge`, ties left out.
        checking: Comparisons of the split `held_out`, ties left out.
        seed: Of the solver.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415  (1 s import, not needed on the testbed)
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    for split, pairs in (("judge", training), ("held_out", checking)):
        if len(pairs) < FEWEST:
            return f"the split `{split}` has {len(pairs)} comparisons that are not ties; a judge needs {FEWEST}"
    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    terms.fit([answer for pair in training for answer in pair])
    difference = terms.transform([better for better, _ in training]) - terms.transform([worse for _, worse in training])
    signs = np.where(np.arange(len(training)) % 2 == 0, 1.0, -1.0)
    model = LogisticRegression(fit_intercept=False, C=1.0, max_iter=1000, random_state=seed)
    model.fit(difference.multiply(signs[:, None]).tocsr(), signs)
    weights = model.coef_[0]
    better = terms.transform([first for first, _ in checking]) @ weights
    worse = terms.transform([second for _, second in checking]) @ weights
    right = float((better > worse).sum() + 0.5 * (better == worse).sum())
    return Judge(terms, weights, wilson(right, len(checking)), len(training))


def doubt(judge: Judge | str | None) -> str:
    """Why what a judge says decides nothing; empty where it does."""
    if judge is None or isinstance(judge, str):
        return judge or "there is no judge"
    accuracy = judge.accuracy
    interval = f"95 % interval {accuracy.low:.3f} to {accuracy.high:.3f}"
    return (
        ""
        if judge.beats_chance
        else f"the judge is right on {accuracy.value:.3f} of held-out comparisons ({interval}), which may be chance"
    )


def agreed(labels: Iterable[tuple[str, tuple[str, str], str]]) -> list[Pair]:
    """One pair for each two answers that were compared, however often: what most of their labels say; none where they tie.

    Args:
        labels: The prompt's id, the two answers, and `first`, `second` or `tie`.
    """
    votes: dict[tuple[str, str, str], int] = {}
    for prompt, (first, second), label in labels:
        one, other = sorted((first, second))
        sign = {"first": 1, "second": -1}.get(label, 0) * (1 if one == first else -1)
        votes[prompt, one, other] = votes.get((prompt, one, other), 0) + sign
    return [(one, other) if lead > 0 else (other, one) for (_, one, other), lead in votes.items() if lead]
