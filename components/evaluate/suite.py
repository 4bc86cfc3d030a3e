"""What a suite is, what it is given, and how all of them are found and run: one that breaks does not stop the others.

A suite is a file in `components/evaluate/suites` that defines `SUITE`. It measures one model at a time; the same questions,
seed and decoding for every model, so that differences are paired.

N: items of a suite.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from components.errors import DataRefused
from components.evaluate import suites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from components.evaluate.material import Material
    from components.evaluate.panel import Asker
    from components.evaluate.statistics import Numbers
    from components.models import Dialogue

MOST_NATS = 100.0
"""Per token. A model that knows nothing has the logarithm of its vocabulary, about 12 at most."""
Form = Literal["share", "mean", "ratio", "perplexity", "wins", "gap"]
Scores = dict[str, float]
"""Metric → its value for one answer; a metric that says nothing of an item is left out."""


@dataclass(frozen=True)
class Metric:
    """One number that a suite gives each item, and how the candidate's may differ from the reference's."""

    name: str
    """Unique among all suites; measurements are named `NAME_MODEL`."""
    label: str
    """For a person."""
    better: Literal["higher", "lower"]
    margin: float | None = None
    """How much worse the candidate may be at most; None where the metric is reported and decides nothing. For a ratio, how many
    times as much it may be; where more is better, how many times as little."""
    form: Form = "share"
    """`share` counts how often, from 0 to 1; `mean` averages; `ratio` is Σ over Σ; `perplexity` is exp(Σ nats / Σ tokens);
    `wins` is the share of pairs of answers won, minus one half; `gap` is the widest of several gaps, see `gaps.py`."""
    unit: str = "fraction"
    span: float = 1.0
    """How far two values can lie apart."""
    variance: float | None = None
    """Planned variance of an item's paired difference where two policies differ most: of a share, the part of the items that
    one of them has and the other has not; of a ratio, of an item's share in its logarithm. How many items a margin needs
    follows from it, see `gates.items_needed`."""
    floor: float | None = None
    """The least that the candidate must reach, whatever the reference has."""
    ceiling: float | None = None
    """The most that it may reach."""
    against: Literal["reference", "sft"] = "reference"
    """`sft` where the champion would hide what training cost."""
    where: Literal["everywhere", "testbed", "elsewhere"] = "everywhere"
    """On which data it can be measured at all; where it can be and was not, its gate is undecided."""


@dataclass(frozen=True)
class Item:
    """One question of a suite."""

    id: str
    messages: Dialogue
    kind: str = ""
    facts: Any = None
    """What the suite needs to score an answer."""
    prefix: str = ""
    """First words of the answer, where an attack gives them."""


@dataclass
class Found:
    """What a suite found of one model."""

    items: Sequence[Item]
    """(N) the same for every model."""
    answers: Sequence[Sequence[str]]
    """(N) what the model said, or what it found likeliest."""
    scores: dict[str, Numbers]
    """Metric → (N); NaN where it says nothing of an item. (N, D) for `wins`, (N, P) for `gap`."""
    weights: Numbers | None = None
    """(N) tokens of each text, for `perplexity`."""
    are_replies: bool = False
    """Whether `answers` are what the model replied to the items as they stand; then they are logged."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What else the report shows of this model."""


@dataclass(frozen=True)
class Suite:
    """A suite: what it asks, how it scores, and what it can't see."""

    name: str
    """The file's name."""
    title: str
    covers: str
    misses: str
    """What it does not cover. Every gate says so."""
    metrics: tuple[Metric, ...]
    items: Callable[[Material], list[Item]] | None = None
    score: Callable[[Item, str], Scores] | None = None
    """Of one answer. With `items`, this is all a generate-and-score suite needs."""
    measure: Callable[[Material, Asker], Found] | None = None
    """For suites that do more than ask and score."""

    def run(self, material: Material, asker: Asker) -> Found:
        """Measure one model."""
        if self.measure:
            return self.measure(material, asker)
        assert self.items, "a suite measures by itself, or says what to ask"
        assert self.score, "a suite measures by itself, or says how to score"
        return asked(self.items(material), asker, self.score, metrics=[metric.name for metric in self.metrics])


@dataclass
class Outcome:
    """A suite with what it found of every model, or why it found nothing."""

    suite: Suite
    found: dict[str, Found] = field(default_factory=dict)
    reason: str = ""
    """Why it is undecided; empty where it ran."""


def known() -> list[Suite]:
    """All suites, by name. A file without a `SUITE` of its own name is refused.

    Raises:
        DataRefused: A file of the folder can't be loaded or defines no suite of its name, or two suites share a metric's name.
    """
    found: list[Suite] = []
    for module in sorted(pkgutil.iter_modules(suites.__path__), key=lambda each: each.name):
        try:
            loaded = getattr(importlib.import_module(f"{suites.__name__}.{module.name}"), "SUITE", None)
        except Exception as error:
            message = f"components/evaluate/suites/{module.name}.py can't be loaded: {error!r}. Mend it, or take it out."
            raise DataRefused(message) from error
        if not isinstance(loaded, Suite) or loaded.name != module.name:
            message = f"components/evaluate/suites/{module.name}.py must define SUITE, a Suite named {module.name!r}."
            raise DataRefused(message)
        found.append(loaded)
    names = [metric.name for suite in found for metric in suite.metrics]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        message = (
            f"Two suites have a metric named {', '.join(double)}. Name each metric once, so that measurements have one meaning."
        )
        raise DataRefused(message)
    return found


def asked(items: Sequence[Item], asker: Asker, score: Callable[[Item, str], Scores], *, metrics: Sequence[str]) -> Found:
    """Ask a model, score every answer, and average over each item's answers.

    Args:
        items: What to ask.
        asker: The model.
        score: Of one answer to an item.
        metrics: Names of the metrics; one that `score` leaves out is NaN for that item.
    """
    if not items:
        message = "no prompt of this data is of a kind that the suite asks about"
        raise DataRefused(message)
    answers = asker.answers([item.messages for item in items], prefixes=[item.prefix for item in items])
    scores = {metric: np.full(len(items), np.nan) for metric in metrics}
    for row, (item, said) in enumerate(zip(items, answers, strict=True)):
        marks = [score(item, answer) for answer in said]
        for metric in marks[0]:
            scores[metric][row] = float(np.mean([mark[metric] for mark in marks]))
    return Found(items, answers, scores, are_replies=True)


def run_all(
    material: Material, askers: Mapping[str, Asker], begun: Sequence[Outcome], *, progress: Callable[[int, int, str], None]
) -> list[Outcome]:
    """Every suite on every model. A suite that breaks is undecided, with the reason; the rest still run.

    Args:
        material: What there is to ask.
        askers: Models, by name.
        begun: The suites, each with what it found of other models before.
        progress: Told before each suite.
    """
    outcomes = []
    for place, outcome in enumerate(begun):
        progress(place, len(begun), outcome.suite.title.lower())
        outcomes.append(outcome if outcome.reason else _run(outcome, material, askers))
    progress(len(begun), len(begun), "all suites")
    return outcomes


def _run(begun: Outcome, material: Material, askers: Mapping[str, Asker]) -> Outcome:
    suite, outcome = begun.suite, Outcome(begun.suite, dict(begun.found))
    try:
        for name, asker in askers.items():
            outcome.found[name] = suite.run(material, asker)
            _check(suite, outcome.found[name], next(iter(outcome.found.values())))
            asker.save()
    except Exception as error:  # noqa: BLE001  (whatever breaks one suite, the others still run; undecided fails closed)
        return Outcome(suite, reason=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return outcome


def _check(suite: Suite, found: Found, first: Found) -> None:
    """A suite that loses items or gives numbers that can't be is broken, not bad. `first`: what it found of the first model."""
    if [item.id for item in found.items] != [item.id for item in first.items] or found.scores.keys() != first.scores.keys():
        message = f"{suite.name} asked two models different questions, or measured other things of them"
        raise ValueError(message)
    forms = {metric.name: metric.form for metric in suite.metrics}
    for name, values in found.scores.items():
        if len(values) != len(found.items) or np.isinf(values).any():
            message = f"{suite.name} gave {name} for {len(values)} of {len(found.items)} items, or a value that is not finite"
            raise ValueError(message)
        if forms.get(name) == "share" and ((values < 0) | (values > 1)).any():
            message = f"{suite.name} gave {name} values outside 0 to 1, and it is a share"
            raise ValueError(message)
        if forms.get(name) == "perplexity" and not _is_perplexity(values, found.weights):
            message = f"{suite.name} gave {name} without tokens, for a part of the texts, or beyond e^{MOST_NATS:g}"
            raise ValueError(message)


def _is_perplexity(nats: Numbers, tokens: Numbers | None) -> bool:
    """Whether every text has a finite likelihood that can be written down, and no other item has one: those have no tokens."""
    if tokens is None:
        return False
    is_text = tokens > 0
    return bool(np.isnan(nats[~is_text]).all()) and bool((np.abs(nats[is_text] / tokens[is_text]) < MOST_NATS).all())
