"""The gates: is the candidate worse than its reference, by more than a margin, and how sure is that? Pure.

A gate has three verdicts. **pass**: the whole 95 % interval of the difference lies above the margin, so a loss as large as the
margin is ruled out (one-sided level 2.5 %). **regressed**: a loss as large as the margin is not ruled out, and the candidate is
worse at all with Holm's adjusted p-value below 2.5 % over all gates that count; or the whole interval of an absolute value lies
beyond its floor or ceiling. **undecided**: anything else, a suite that broke included. Undecided is not passed.

Passing needs no correction for many gates: a release must pass all of them, so each at its level keeps the whole at that level
(Berger 1982, https://doi.org/10.2307/2530470). Calling something regressed does, or twenty gates would cry wolf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from components.evaluate.statistics import Interval, Z, holm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from components.evaluate.suite import Metric, Suite

Verdict = Literal["pass", "regressed", "undecided"]
LEVEL = 0.025
"""One-sided."""
POWER_Z = 0.8416212335729143
"""The standard normal's 80 % point."""
TIMES = ("ratio", "perplexity")
"""Forms in which the candidate is divided by the reference."""


@dataclass(frozen=True)
class Measured:
    """What is known of one metric: the candidate against its reference, and the candidate alone."""

    suite: Suite
    metric: Metric
    reference: str
    """In words."""
    difference: Interval | str
    """Candidate minus reference, or over it; or why there is none."""
    p_worse: float = 1.0
    """One-sided p-value that the candidate is worse at all: exact McNemar where values are 0 or 1, else paired bootstrap."""
    own: Interval | None = None
    """The candidate's own value."""
    name: str = ""
    """Of the gate, where it is not the metric's."""


@dataclass(frozen=True)
class Gate:
    """One decision, with what it was made from."""

    name: str
    suite: str
    verdict: Verdict
    text: str
    """One sentence for a person."""
    value: float | None
    threshold: float
    low: float | None
    high: float | None
    n: int | None
    unit: str
    visible: float | None
    """The smallest true regression that this many prompts would have called regressed four times in five. [unit, or a ratio]"""
    better: str = "higher"
    bound: Literal["margin", "floor", "ceiling"] = "margin"
    p_worse: float | None = None
    p_adjusted: float | None = None
    more: int | None = None
    """Further prompts that would decide if the value stays; None where it is decided, or where no number would."""
    misses: str = ""
    """What it does not cover."""
    advisory: bool = False
    loosened: bool = False
    """Whether the settings allow more than the suite does."""
    worst: list[dict[str, Any]] = field(default_factory=list)
    """Prompts on which the candidate lost most, side by side; for gates that did not pass."""


def decide(
    measured: Sequence[Measured],
    *,
    margins: dict[str, float],
    floors: dict[str, float],
    ceilings: dict[str, float],
    advisory: Sequence[str],
) -> list[Gate]:
    """All gates, in the order of the suites.

    Args:
        measured: All metrics.
        margins: By metric, where they differ from the suite's own.
        floors: By metric.
        ceilings: By metric.
        advisory: Metrics, or suites, that don't count.
    """
    gated = [(each, margins.get(each.metric.name, each.metric.margin)) for each in measured]
    gated = [(each, margin) for each, margin in gated if margin is not None]
    counts = [not _advised(each, advisory) and not isinstance(each.difference, str) for each, _ in gated]
    adjusted = iter(holm([each.p_worse for (each, _), counted in zip(gated, counts, strict=True) if counted]))
    family = max(1, sum(counts))
    found = [
        _not_worse(each, float(margin or 0.0), next(adjusted) if counted else each.p_worse, family)
        for (each, margin), counted in zip(gated, counts, strict=True)
    ]
    found += [_bounded(each, floors.get(each.metric.name, each.metric.floor), "floor") for each in measured]
    found += [_bounded(each, ceilings.get(each.metric.name, each.metric.ceiling), "ceiling") for each in measured]
    whole = [gate for gate in found if gate]
    return [replace(gate, advisory=bool({gate.suite, gate.name.split(" ")[0]} & set(advisory))) for gate in whole]


def _advised(measured: Measured, advisory: Sequence[str]) -> bool:
    return bool({measured.suite.name, measured.metric.name} & set(advisory))


def overall(gates: Iterable[Gate]) -> Verdict:
    """`regressed` if any gate that counts is, else `undecided` if any is undecided or none counts, else `pass`."""
    verdicts = {gate.verdict for gate in gates if not gate.advisory}
    if "regressed" in verdicts:
        return "regressed"
    return "pass" if verdicts == {"pass"} else "undecided"


def _not_worse(measured: Measured, margin: float, p_adjusted: float, family: int) -> Gate | None:
    metric = measured.metric
    threshold = threshold_of(metric, margin)
    what = f"{metric.label}, candidate {'over' if metric.form in TIMES else 'minus'} {measured.reference}"
    if isinstance(measured.difference, str):
        return _missing(measured, measured.name or metric.name, what, measured.difference, threshold)
    found = measured.difference
    passes = found.high <= threshold if metric.better == "lower" else found.low >= threshold
    verdict: Verdict = "pass" if passes else "regressed" if p_adjusted < LEVEL else "undecided"
    more = _more(found, threshold) if verdict == "undecided" else None
    text = f"{what}: {_numbers(found)}; it must be at {'most' if metric.better == 'lower' else 'least'} {threshold:g}."
    own = metric.margin
    loosened = own is not None and margin > own
    if own is not None and loosened:
        text += f" The settings allow more than the suite, whose limit is {threshold_of(metric, own):g}."
    return Gate(
        name=measured.name or metric.name,
        suite=measured.suite.name,
        verdict=verdict,
        text=text + _doubt(verdict, more, p_adjusted),
        value=found.value,
        threshold=threshold,
        low=found.low,
        high=found.high,
        n=found.n,
        unit="ratio" if metric.form in TIMES else metric.unit,
        visible=_visible(found, threshold, family, is_ratio=metric.form in TIMES),
        better=metric.better,
        p_worse=measured.p_worse,
        p_adjusted=p_adjusted,
        more=more,
        misses=measured.suite.misses,
        loosened=loosened,
    )


def threshold_of(metric: Metric, margin: float) -> float:
    """What a difference is held against. A margin of 2 lets a ratio grow to 2 where less is better, and fall to 1/2 else."""
    if metric.better == "lower":
        return margin
    return 1 / margin if metric.form in TIMES else -margin


def items_needed(margin: float, variance: float, *, is_ratio: bool = False) -> int:
    """Items with which a 95 % interval reaches half a margin to each side at most.

        n ≥ v · (2 z / m)²,  z the standard normal's 97.5 % point; of a ratio m is the margin's logarithm

    Then whatever is seen to have lost less than half a margin passes, an unchanged candidate 39 times in 40. And a loss as
    large as the margin is called regressed four times in five, even at Holm's hardest step among 24 gates: 2 z = 3.920 is more
    than the points of 0.025 / 24 and of 0.8 together, 3.078 + 0.842 = 3.919.

    Args:
        margin: Of the metric.
        variance: Planned, of an item's paired difference.
        is_ratio: Whether the margin is how many times as much.
    """
    return math.ceil(variance * (2 * Z / (math.log(margin) if is_ratio else margin)) ** 2)


def _bounded(measured: Measured, bound: float | None, kind: Literal["floor", "ceiling"]) -> Gate | None:
    """The candidate's own value against a floor or a ceiling: its whole interval must be on the good side."""
    if bound is None:
        return None
    name, what = f"{measured.metric.name} {kind}", f"{measured.metric.label}, candidate"
    if measured.own is None:
        return _missing(measured, name, what, "nothing was measured", bound)
    found = measured.own
    inside, outside = (found.low >= bound, found.high < bound) if kind == "floor" else (found.high <= bound, found.low > bound)
    verdict: Verdict = "pass" if inside else "regressed" if outside else "undecided"
    more = _more(found, bound) if verdict == "undecided" else None
    text = f"{what}: {_numbers(found)}; it must be at {'least' if kind == 'floor' else 'most'} {bound:g}."
    limit = measured.metric.floor if kind == "floor" else measured.metric.ceiling
    loosened = limit is not None and (bound < limit if kind == "floor" else bound > limit)
    if loosened:
        text += f" The settings allow more than the suite, whose limit is {limit:g}."
    return Gate(
        name=name,
        suite=measured.suite.name,
        verdict=verdict,
        text=text + _doubt(verdict, more, None),
        value=found.value,
        threshold=bound,
        low=found.low,
        high=found.high,
        n=found.n,
        unit=measured.metric.unit,
        visible=None,
        better=measured.metric.better,
        bound=kind,
        more=more,
        misses=measured.suite.misses,
        loosened=loosened,
    )


def _doubt(verdict: Verdict, more: int | None, p_adjusted: float | None) -> str:
    if verdict == "regressed" and p_adjusted is not None:
        p = "< 0.0001" if p_adjusted < 0.0001 else f"= {p_adjusted:.4f}"
        return f" It is worse (Holm-adjusted p {p}), and a loss as large as the margin is not ruled out."
    if verdict != "undecided":
        return ""
    further = (
        f"about {more} more prompts would decide if the value stays"
        if more
        else "no number of prompts would decide if it stays there"
    )
    return f" The interval holds the threshold; {further}."


def _numbers(measured: Interval) -> str:
    return f"{measured.value:.3f} (95 % interval {measured.low:.3f} to {measured.high:.3f}, n = {measured.n})"


def _more(measured: Interval, threshold: float) -> int | None:
    """Further items until the interval ends at the threshold: n (half / distance)² - n."""
    half, distance = (measured.high - measured.low) / 2, abs(measured.value - threshold)
    if distance <= half / 30:
        return None
    return max(1, math.ceil(measured.n * (half / distance) ** 2 - 1e-6) - measured.n)


def _visible(measured: Interval, threshold: float, family: int, *, is_ratio: bool) -> float | None:
    """The true loss of which four in five measurements like this one are called regressed.

        max(z_{1 - level/m} · se, margin - z_{1 - level} · se) + z_{0.8} · se

    Both things that `regressed` asks for: worse at all at Holm's first and hardest step, and an interval that ends beyond the
    margin. A ratio's is taken of logarithms and given as a ratio.
    """
    low, high, margin = measured.low, measured.high, threshold
    if is_ratio:
        if low <= 0:
            return None
        low, high, margin = math.log(low), math.log(high), math.log(threshold)
    error = (high - low) / (2 * Z)
    loss = max(_upper(LEVEL / family) * error, abs(margin) - Z * error) + POWER_Z * error
    return math.exp(math.copysign(loss, margin)) if is_ratio else loss


def _upper(tail: float) -> float:
    """The standard normal's point with this probability above it."""
    return NormalDist().inv_cdf(1 - tail)


def _missing(measured: Measured, name: str, what: str, reason: str, threshold: float) -> Gate:
    return Gate(
        name=name,
        suite=measured.suite.name,
        verdict="undecided",
        text=f"{what}, was not measured: {reason.rstrip('.')}.",
        value=None,
        threshold=threshold,
        low=None,
        high=None,
        n=None,
        unit=measured.metric.unit,
        visible=None,
        better=measured.metric.better,
        misses=measured.suite.misses,
    )
