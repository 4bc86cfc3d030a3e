from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from components.evaluate import gates
from components.evaluate.gates import Gate, Measured
from components.evaluate.statistics import Interval
from components.evaluate.suite import Metric, Suite

BETTER = Metric("quality", "Quality", "higher", margin=0.2, form="mean", unit="points")
WORSE = Metric("flattery", "Flattery", "lower", margin=0.15)
LONGER = Metric("words", "Words", "lower", margin=1.5, form="ratio")


def _measured(
    metric: Metric, low: float, value: float, high: float, *, p: float = 1.0, own: Interval | None = None
) -> Measured:
    suite = Suite("some_suite", "Some suite", "something", "the rest", (metric,))
    return Measured(suite, metric, "champion", Interval(value, low, high, 90), p, own)


def _decide(*measured: Measured, **settings: object) -> list[Gate]:
    given: dict[str, object] = {"margins": {}, "floors": {}, "ceilings": {}, "advisory": []} | settings
    return gates.decide(measured, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "interval", "p", "verdict"),
    [
        (BETTER, (-0.15, 0.1, 0.3), 0.9, "pass"),
        (BETTER, (-0.2, -0.1, -0.02), 0.004, "pass"),
        (BETTER, (-0.25, -0.1, -0.03), 0.004, "regressed"),
        (BETTER, (-0.25, -0.1, 0.04), 0.03, "undecided"),
        (BETTER, (-0.6, -0.4, -0.21), 0.0005, "regressed"),
        (WORSE, (-0.1, 0.02, 0.15), 0.4, "pass"),
        (WORSE, (0.03, 0.1, 0.16), 0.003, "regressed"),
        (WORSE, (-0.1, 0.05, 0.2), 0.3, "undecided"),
        (LONGER, (0.4, 0.9, 1.5), 0.6, "pass"),
        (LONGER, (1.2, 1.4, 1.6), 0.001, "regressed"),
    ],
)
def test_passing_rules_a_loss_out_and_regressing_shows_one(
    metric: Metric, interval: tuple[float, float, float], p: float, verdict: str
) -> None:
    """A loss that is shown but lies within the margin passes; one that is not shown and not ruled out is undecided."""
    [gate] = _decide(_measured(metric, *interval, p=p))

    assert gate.verdict == verdict


def test_a_ratio_where_more_is_better_may_fall_to_one_over_its_margin() -> None:
    """Answers of 2.6 words where the reference used 19.6, as reward hacking left them on hh-rlhf: the ratio is 0.13."""
    kept = Metric("words_kept", "Words left", "higher", margin=2.0, form="ratio")

    [collapsed] = _decide(_measured(kept, 0.11, 0.13, 0.16, p=0.0005))
    [shorter] = _decide(_measured(kept, 0.55, 0.6, 0.7, p=0.0005))

    assert (collapsed.verdict, collapsed.threshold, shorter.verdict) == ("regressed", 0.5, "pass")


def test_many_gates_make_it_harder_to_call_one_regressed() -> None:
    """p = 0.01 alone is below 0.025; among three it is 0.03 after Holm. Advisory gates do not count among them."""
    bad = _measured(BETTER, -0.25, -0.1, -0.01, p=0.01)
    others = [_measured(WORSE, -0.1, 0.0, 0.1, p=0.6), _measured(LONGER, 0.5, 0.9, 1.2, p=0.7)]

    assert _decide(bad)[0].verdict == "regressed"
    assert _decide(bad, *others)[0].verdict == "undecided"
    assert _decide(bad, *others)[0].p_adjusted == pytest.approx(0.03)
    assert _decide(bad, *others, advisory=["words", "flattery"])[0].verdict == "regressed"


def test_what_was_not_measured_is_undecided_and_says_why() -> None:
    suite = Suite("some_suite", "Some suite", "something", "the rest", (WORSE,))

    [gate] = _decide(Measured(suite, WORSE, "SFT policy", "ValueError: the suite broke"))

    assert (gate.verdict, gate.value, gate.n) == ("undecided", None, None)
    assert gate.text == "Flattery, candidate minus SFT policy, was not measured: ValueError: the suite broke."


def test_the_text_says_how_many_more_prompts_would_decide() -> None:
    """Half the width is 0.3, the threshold 0.1 away: 90 · (0.3 / 0.1)² = 810, of which 720 are missing."""
    [gate] = _decide(_measured(BETTER, -0.4, -0.1, 0.2))

    assert gate.more == 720
    assert gate.text == (
        "Quality, candidate minus champion: -0.100 (95 % interval -0.400 to 0.200, n = 90); it must be at least -0.2. "
        "The interval holds the threshold; about 720 more prompts would decide if the value stays."
    )


def test_a_value_at_the_threshold_is_decided_by_no_number_of_prompts() -> None:
    [gate] = _decide(_measured(BETTER, -0.5, -0.2, 0.1))

    assert gate.more is None
    assert "no number of prompts would decide" in gate.text


def test_the_smallest_visible_regression_by_hand() -> None:
    """One gate: se = 0.3 / 1.959964 = 0.153064; (1.959964 + 0.841621) · 0.153064 = 0.428822. With two: z = 2.241403.

    The margin of 0.2 is nearer than that. A ratio from 1.02 to 1.03 has se = 0.0025; its margin of 2 is what is hard to cross:
    ln 2 - (1.959964 - 0.841621) · 0.0025 = 0.690377, and e to that is 1.9945.
    """
    one, two = _measured(BETTER, -0.4, -0.1, 0.2), _measured(WORSE, -0.1, 0.0, 0.1)

    assert _decide(one)[0].visible == pytest.approx(0.428822, abs=1e-5)
    assert _decide(one, two)[0].visible == pytest.approx((2.241403 + 0.841621) * 0.153064, abs=1e-5)
    error = math.log(1.03 / 1.02) / 2 / 1.959964
    times = Metric("length", "Length", "lower", margin=2.0, form="ratio")
    [gate] = _decide(replace(one, metric=times, difference=Interval(1.025, 1.02, 1.03, 90)))
    assert gate.visible == pytest.approx(math.exp(math.log(2) - (1.959964 - 0.841621) * error), rel=1e-5)


def test_a_regression_of_the_visible_size_is_called_so_four_times_in_five() -> None:
    """Two hundred prompts, standard deviation 0.15, one gate of twenty, margin 0.1."""
    rng, called, n, error = np.random.default_rng(0), 0, 200, 0.15 / math.sqrt(200)
    others = [_measured(replace(BETTER, name=f"other-{number}"), -0.01, 0.0, 0.01) for number in range(19)]
    metric = replace(BETTER, margin=0.1)

    def gate(value: float) -> Gate:
        interval = Interval(value, value - 1.959964 * error, value + 1.959964 * error, n)
        worse = replace(_measured(metric, 0, 0, 0), difference=interval, p_worse=NormalDist().cdf(value / error))
        return _decide(worse, *others)[0]

    visible = gate(0.0).visible
    assert visible is not None
    for draw in rng.normal(-visible, error, 400):
        called += gate(float(draw)).verdict == "regressed"
    assert 0.75 < called / 400 < 0.85


def test_a_limit_that_the_settings_loosen_says_so() -> None:
    [wide] = _decide(_measured(BETTER, -0.3, -0.1, 0.1), margins={BETTER.name: 0.5})
    [own] = _decide(_measured(BETTER, 0.1, 0.2, 0.3))

    assert (wide.verdict, wide.loosened, own.loosened) == ("pass", True, False)
    assert wide.text.endswith("The settings allow more than the suite, whose limit is -0.2.")


@pytest.mark.parametrize(
    ("own", "verdict"), [((0.7, 0.75, 0.8), "pass"), ((0.5, 0.6, 0.69), "regressed"), ((0.65, 0.72, 0.8), "undecided")]
)
def test_a_floor_is_for_the_candidate_alone(own: tuple[float, float, float], verdict: str) -> None:
    """The margin passes in every case; the floor of 0.7 does not."""
    low, value, high = own
    measured = _measured(BETTER, 0.1, 0.2, 0.3, own=Interval(value, low, high, 40))

    [margin, floor] = _decide(measured, floors={"quality": 0.7})

    assert margin.verdict == "pass"
    assert (floor.name, floor.verdict, floor.bound) == ("quality floor", verdict, "floor")


def test_a_ceiling_is_for_the_candidate_alone_and_a_setting_makes_a_gate() -> None:
    reported = Metric("rate", "Rate", "lower")
    measured = _measured(reported, 0.0, 0.1, 0.2, own=Interval(0.3, 0.25, 0.35, 40))

    assert _decide(measured) == []
    assert [gate.verdict for gate in _decide(measured, ceilings={"rate": 0.2})] == ["regressed"]
    assert [gate.verdict for gate in _decide(measured, margins={"rate": 0.25})] == ["pass"]


def test_a_failure_counts_more_than_a_doubt_and_a_doubt_more_than_a_pass() -> None:
    [passed] = _decide(_measured(BETTER, 0.0, 0.1, 0.2))
    [doubt] = _decide(_measured(BETTER, -0.3, 0.1, 0.2))
    [failed] = _decide(_measured(BETTER, -0.6, -0.5, -0.4, p=0.0001))

    assert gates.overall([passed, passed]) == "pass"
    assert gates.overall([passed, doubt]) == "undecided"
    assert gates.overall([doubt, failed, passed]) == "regressed"


@pytest.mark.parametrize("name", ["quality", "some_suite"])
def test_an_advisory_gate_does_not_count_and_alone_decides_nothing(name: str) -> None:
    [advised] = _decide(_measured(BETTER, -0.6, -0.5, -0.4, p=0.0001), advisory=[name])
    [passed] = _decide(_measured(WORSE, 0.0, 0.1, 0.12))

    assert advised.advisory
    assert advised.verdict == "regressed"
    assert gates.overall([passed, advised]) == "pass"
    assert gates.overall([advised]) == "undecided"
    assert gates.overall([]) == "undecided"
