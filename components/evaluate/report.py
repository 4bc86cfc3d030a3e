"""From what the suites found to the report: means, paired differences, gates, tables by kind, attack and group. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate import gaps, gates, statistics, trend
from components.evaluate.judge import doubt
from components.evaluate.panel import BASE
from components.evaluate.statistics import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from components.evaluate.config import Settings
    from components.evaluate.judge import Judge
    from components.evaluate.statistics import Numbers
    from components.evaluate.suite import Found, Metric, Outcome, Suite

CANDIDATE, CHAMPION, SFT = "candidate", "champion", "sft"
TITLES = {BASE: "base model", SFT: "SFT policy", CHAMPION: "champion", CANDIDATE: "candidate"}
LEAST_ITEMS = 5
"""Items below which a ratio of sums has no interval to speak of."""
WORST = 10
"""Prompts shown for a gate that did not pass."""


@dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    outcomes: Sequence[Outcome]
    names: Sequence[str]
    """Models, base first."""
    is_testbed: bool
    judge: Judge | str | None
    """None where the gold function scored; why there is no judge, where there is none."""
    settings: Settings
    seed: int
    absent: Mapping[str, str] = field(default_factory=dict)
    """Model that the candidate must be compared with → why it could not be asked."""

    @property
    def reference(self) -> str:
        """What the candidate is compared with in the gates. A champion that could not be asked leaves them undecided."""
        return CHAMPION if CHAMPION in {*self.names, *self.absent} else SFT

    @property
    def beside(self) -> str:
        """Whose answers stand beside the candidate's: the reference's, or the SFT policy's where that could not be asked."""
        return SFT if self.reference in self.absent else self.reference

    @property
    def others(self) -> list[str]:
        """All models but the candidate, champion first."""
        return [name for name in (CHAMPION, SFT, BASE) if name in self.names]

    @property
    def how(self) -> dict[str, int]:
        """Arguments of every bootstrap."""
        return {"seed": self.seed, "resamples": self.settings.resamples}

    @cached_property
    def means(self) -> dict[str, dict[str, Interval]]:
        """Model → metric → its value over the items that it says something of."""
        return _means(self)

    @cached_property
    def differences(self) -> dict[str, dict[str, Interval]]:
        """Other model → metric → candidate minus (or over) that model on the same items."""
        return _differences(self)

    def metrics(self) -> list[tuple[Outcome, Metric]]:
        """Every metric that applies to these data, with its suite."""
        applies = "testbed" if self.is_testbed else "elsewhere"
        return [
            (outcome, metric)
            for outcome in self.outcomes
            for metric in outcome.suite.metrics
            if metric.where in {"everywhere", applies}
        ]

    def found(self, suite: str) -> dict[str, Found]:
        """Model → what a suite found; empty where it broke or did not run."""
        return next((outcome.found for outcome in self.outcomes if outcome.suite.name == suite), {})


def _means(results: Results) -> dict[str, dict[str, Interval]]:
    tables: dict[str, dict[str, Interval]] = {}
    for outcome, metric in results.metrics():
        for model, found in outcome.found.items():
            value = _alone(metric, found, results)
            if value:
                tables.setdefault(model, {})[metric.name] = value
    return tables


def _alone(metric: Metric, found: Found, results: Results) -> Interval | None:
    if metric.name not in found.scores or metric.form == "wins":
        return None
    values = found.scores[metric.name]
    known = ~np.isnan(values)
    if not known.any():
        return None
    if metric.form == "perplexity":
        assert found.weights is not None, "a perplexity needs the tokens of each text"
        return statistics.perplexity(values[known], found.weights[known], **results.how)
    if metric.form == "gap":
        return gaps.widest(values, span=metric.span, **results.how)
    if metric.form == "share":
        return statistics.wilson(float(values[known].sum()), int(known.sum()))
    return statistics.mean(values[known], span=metric.span, **results.how)


def _differences(results: Results) -> dict[str, dict[str, Interval]]:
    tables: dict[str, dict[str, Interval]] = {}
    for outcome, metric in results.metrics():
        for other in results.others:
            found = difference(metric, outcome, other, results)
            if isinstance(found, Interval):
                tables.setdefault(other, {})[metric.name] = found
    return tables


def difference(metric: Metric, outcome: Outcome, other: str, results: Results) -> Interval | str:
    """Candidate against another model, or why there is no difference."""
    if outcome.reason or other in results.absent:
        return outcome.reason or results.absent[other]
    pair = _paired(metric, outcome, other)
    if isinstance(pair, str):
        return pair
    if metric.form in gates.TIMES and len(pair[0]) < LEAST_ITEMS:
        return f"it takes {LEAST_ITEMS} items at least, and there are {len(pair[0])}"
    return _compared(metric, *pair, results) or f"the {TITLES[other]} gave nothing to divide by"


def _compared(metric: Metric, first: Numbers, second: Numbers, weights: Numbers, results: Results) -> Interval | None:
    """The interval of a difference in the metric's form; None for a ratio over nothing."""
    if metric.form == "wins":
        return statistics.mean(wins(first, second), span=1.0, **results.how)
    if metric.form == "gap":
        return gaps.difference(first, second, span=metric.span, **results.how)
    if metric.form == "perplexity":
        return statistics.perplexity_ratio(first, second, weights, **results.how)
    if metric.form == "ratio":
        return statistics.ratio(first, second, **results.how)
    if metric.form == "share":
        return statistics.paired_shares(first, second)
    return statistics.mean(first - second, span=metric.span, **results.how)


def _paired(metric: Metric, outcome: Outcome, other: str) -> tuple[Numbers, Numbers, Numbers] | str:
    """Both models' values of the items that have one under both."""
    mine, theirs = outcome.found[CANDIDATE], outcome.found[other]
    if [item.id for item in mine.items] != [item.id for item in theirs.items]:
        return "the two models were asked different questions"
    if metric.name not in mine.scores:
        return "nothing was measured"
    first, second = mine.scores[metric.name], theirs.scores[metric.name]
    known = ~np.isnan(first) & ~np.isnan(second)
    weights = mine.weights if mine.weights is not None else np.ones(len(first))
    if metric.form in {"wins", "gap"}:
        return first, second, weights
    if not known.any():
        return "nothing was measured"
    return first[known], second[known], weights[known]


def wins(first: Numbers, second: Numbers) -> Numbers:
    """How much more often than half the time each prompt's first answers beat its second ones; a tie is half a win.

    Args:
        first: (N, D) judge's scores.
        second: (N, D) the same of the other model.

    Returns:
        (N) from -1/2 to 1/2, over all D² pairs of answers.
    """
    return np.sign(first[:, :, None] - second[:, None, :]).mean(axis=(1, 2)) / 2


def decide(results: Results) -> list[gates.Gate]:
    """All gates, with the worst prompts of those that did not pass."""
    alone, settings = results.means.get(CANDIDATE, {}), results.settings
    measured = [_measured(outcome, metric, alone.get(metric.name), results) for outcome, metric in results.metrics()]
    measured += _beside_base(results) + _not_measurable(results)
    made = gates.decide(
        measured, margins=_margins(results), floors=settings.floors, ceilings=settings.ceilings, advisory=settings.advisory
    )
    return [gate if gate.verdict == "pass" else replace(gate, worst=worst(gate, results)) for gate in made]


def _beside_base(results: Results) -> list[gates.Measured]:
    """A first release must not be worse at its tasks than the model that it was made from either."""
    if results.reference == CHAMPION:
        return []
    found = []
    for outcome, metric in results.metrics():
        if outcome.suite.name == "task_quality" and metric.margin is not None:
            beside = _measured(outcome, metric, None, results, other=BASE)
            found.append(replace(beside, name=f"{metric.name} over base"))
    return found


def _not_measurable(results: Results) -> list[gates.Measured]:
    """Metrics that the settings make a gate of and that these data can't give: undecided, and not passed over."""
    settings = results.settings
    named = {*settings.margins, *settings.floors, *settings.ceilings} - {metric.name for _, metric in results.metrics()}
    reason = "it can't be measured on these data"
    return [
        gates.Measured(outcome.suite, metric, TITLES[results.reference], reason)
        for outcome in results.outcomes
        for metric in outcome.suite.metrics
        if metric.name in named
    ]


def _margins(results: Results) -> dict[str, float]:
    """Margins that differ from the suites' own. That of `judged` is of true preference; a weak judge sees only part of it."""
    given = dict(results.settings.margins)
    if results.judge is None or isinstance(results.judge, str):
        return given
    own = {metric.name: metric.margin for _, metric in results.metrics() if metric.form == "wins" and metric.margin is not None}
    return given | {name: given.get(name, margin) * results.judge.sharpness for name, margin in own.items()}


def _measured(outcome: Outcome, metric: Metric, own: Interval | None, results: Results, *, other: str = "") -> gates.Measured:
    other = other or (SFT if metric.against == "sft" else results.reference)
    found = difference(metric, outcome, other, results)
    if metric.name == "judged" and not isinstance(found, str):
        found = doubt(results.judge) or found
    p_worse = 1.0 if isinstance(found, str) else _p_worse(metric, outcome, other, results)
    return gates.Measured(outcome.suite, metric, TITLES[other], found, p_worse, own)


def _p_worse(metric: Metric, outcome: Outcome, other: str, results: Results) -> float:
    """One-sided: exact McNemar where every value is 0 or 1, exchanges for gaps, else the paired bootstrap."""
    pair = _paired(metric, outcome, other)
    assert not isinstance(pair, str), "there is a difference, so there is a pair"
    first, second, _ = pair
    if metric.form == "wins":
        return statistics.bootstrap_p(wins(first, second), **results.how)
    if metric.form == "gap":
        return gaps.p_wider(first, second, **results.how)
    if metric.better == "lower":
        first, second = -first, -second
    if metric.form == "share" and np.isin(np.abs(np.concatenate([first, second])), (0.0, 1.0)).all():
        return statistics.mcnemar(first, second)
    return statistics.bootstrap_p(first - second, **results.how)


def worst(gate: gates.Gate, results: Results) -> list[dict[str, Any]]:
    """The prompts on which the candidate lost most against its reference, with both answers."""
    name = gate.name.split(" ")[0]
    matching = [(outcome, metric) for outcome, metric in results.metrics() if metric.name == name and outcome.found]
    if not matching:
        return []
    outcome, metric = matching[0]
    other = SFT if metric.against == "sft" else results.beside
    mine, theirs = outcome.found[CANDIDATE], outcome.found[other]
    if name not in mine.scores:
        return []
    first, second = mine.scores[name], theirs.scores[name]
    if metric.form == "gap":
        first, second = gaps.of_the_widest(first, second)
    loss = _loss(metric, first, second, alone=gate.bound != "margin")
    places = [int(place) for place in np.argsort(-np.nan_to_num(loss, nan=-math.inf), kind="stable")]
    return [
        {
            "id": mine.items[place].id,
            "messages": list(mine.items[place].messages),
            "candidate": {"answer": mine.answers[place][0], "value": _plain(first[place])},
            "reference": {"answer": theirs.answers[place][0], "value": _plain(second[place])},
        }
        for place in places[:WORST]
        if loss[place] > 0
    ]


def _loss(metric: Metric, first: Numbers, second: Numbers, *, alone: bool) -> Numbers:
    """(N) how much worse the first is; `alone`: than the best value that any item has, whatever the second has there."""
    if metric.form == "wins":
        return -wins(first, second)
    if alone:
        second = np.full(len(first), np.nanmin(first) if metric.better == "lower" else np.nanmax(first))
    return first - second if metric.better == "lower" else second - first


def _plain(value: Any) -> float:
    return round(float(np.mean(value)), 4)


def by_kind(results: Results) -> dict[str, dict[str, Any]]:
    """Kind → number of prompts, each model's mean quality, and candidate minus reference with its interval."""
    found = results.found("task_quality")
    if not found:
        return {}
    metric = "utility" if results.is_testbed else "judged"
    kinds = [item.kind for item in found[CANDIDATE].items]
    rows: dict[str, dict[str, Any]] = {}
    for kind in sorted(set(kinds)):
        of_kind = np.array([this == kind for this in kinds])
        first, second = (found[name].scores[metric][of_kind] for name in (CANDIDATE, results.beside))
        values, span = (first - second, 2.0) if results.is_testbed else (wins(first, second), 1.0)
        row: dict[str, Any] = {
            "n": int(of_kind.sum()),
            "difference": rounded(statistics.mean(values, span=span, **results.how)),
        }
        if results.is_testbed:
            row |= {name: round(float(each.scores[metric][of_kind].mean()), 4) for name, each in found.items()}
        rows[kind] = row
    return rows


def at_equal_length(results: Results) -> dict[str, Any] | None:
    """Candidate against reference at equal length: difference in quality, and win rate less one half; None without either.

    By the gold function an answer wins where its utility is higher; by a judge the two are the same.
    """
    quality, length = results.found("task_quality"), results.found("verbosity")
    if not quality or not length or len(quality[CANDIDATE].items) != len(length[CANDIDATE].items):
        return None
    other, metric = results.beside, "utility" if results.is_testbed else "judged"
    first, second = (quality[name].scores[metric] for name in (CANDIDATE, other))
    won = wins(first[:, None], second[:, None]) if results.is_testbed else wins(first, second)
    gained = first - second if results.is_testbed else won
    words = length[CANDIDATE].scores["words"] - length[other].scores["words"]
    return rounded(statistics.at_equal_length(gained, words, **results.how)) | {
        "win_rate_margin": rounded(statistics.at_equal_length(won, words, **results.how))
    }


def as_json(results: Results, made: Sequence[gates.Gate]) -> dict[str, Any]:
    """The whole report."""
    return {
        "verdict": gates.overall(made),
        "reference": TITLES[results.reference],
        "absent": dict(results.absent),
        "scored_by": "gold function of the testbed" if results.is_testbed else "held-out judge",
        "gates": [asdict(gate) for gate in made],
        "models": {name: {metric: rounded(item) for metric, item in row.items()} for name, row in results.means.items()},
        "differences": {
            name: {metric: rounded(item) for metric, item in row.items()} for name, row in results.differences.items()
        },
        "suites": [_suite(outcome, results) for outcome in results.outcomes],
        "by_kind": by_kind(results),
        "at_equal_length": at_equal_length(results),
        "by_attack": _extra(results, "red_team", "by_attack"),
        "by_group": _extra(results, "group_fairness", "by_group"),
        "widest_gap": _extra(results, "group_fairness", "widest_gap"),
        "by_change": _extra(results, "robustness", "by_change"),
        "judge": judge_facts(results.judge),
    }


def _suite(outcome: Outcome, results: Results) -> dict[str, Any]:
    suite: Suite = outcome.suite
    found = outcome.found.get(CANDIDATE)
    return {
        "name": suite.name,
        "title": suite.title,
        "covers": suite.covers,
        "misses": suite.misses,
        "items": len(found.items) if found else 0,
        "asked": trend.asked(suite, found) if found else None,
        "undecided_because": outcome.reason,
        "metrics": [
            {"name": metric.name, "label": metric.label, "better": metric.better, "unit": metric.unit}
            for each, metric in results.metrics()
            if each.suite.name == suite.name
        ],
    }


def _extra(results: Results, suite: str, name: str) -> dict[str, Any]:
    return {model: found.extra[name] for model, found in results.found(suite).items() if name in found.extra}


def judge_facts(judge: Judge | str | None) -> dict[str, Any] | None:
    """What a reader must know of the judge; None where the gold function scored."""
    if judge is None:
        return None
    if isinstance(judge, str):
        return {"missing": judge}
    return {"method": judge.method, "fitted_on": judge.fitted_on, "accuracy": rounded(judge.accuracy)}


def rounded(interval: Interval) -> dict[str, Any]:
    """An interval as JSON."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(interval).items()}
