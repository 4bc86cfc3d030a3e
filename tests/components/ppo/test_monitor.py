"""The rules over probes, each with a run that breaks it and one that does not."""

from __future__ import annotations

import dataclasses

import pytest

from components.ppo import monitor
from components.ppo.monitor import Limits, Probe

LIMITS = Limits(judge_fall=0.25, length_growth=1.5, disagreement_rise=0.5, misled_rise=0.25)


def _probe(update, **changes):
    calm = {
        "proxy": 0.5,
        "judge": (0.1, 0.3, 0.2, 0.4),
        "disagreement": 0.75,
        "kl_nats": 2.0,
        "response_tokens": 20.0,
        "entropy_nats": 1.5,
        "repetition": 0.125,
        "distinct_pairs": 0.625,
        "share_without_eos": 0.0625,
        "hedging": 0.25,
        "misled": 0.125,
        "refusals": 0.125,
    }
    return Probe(update=update, **(calm | changes))


def test_a_reward_that_rises_while_the_judge_falls_is_an_alarm():
    """Falls 0.5, 0.4, 0.6, 0.5: mean 0.5 above 0.25, standard error 0.041."""
    probes = [_probe(0), _probe(5, proxy=1.25, judge=(-0.4, -0.1, -0.4, -0.1))]

    assert monitor.alarm(probes, LIMITS) == (
        "the held-out judge's score fell by 0.50 standard deviations since update 0 while the reward rose by 0.75"
    )


def test_a_fall_within_its_doubt_is_no_alarm():
    """Falls 2, -1.4, 1.8, -0.8: mean 0.4 above 0.25, but twice the standard error is 1.75."""
    probes = [_probe(0), _probe(5, proxy=1.25, judge=(-1.9, 1.7, -1.6, 1.2))]

    assert monitor.alarm(probes, LIMITS) == ""


def test_a_judge_that_falls_together_with_the_reward_is_no_alarm():
    """A bad update, but nothing is being gamed."""
    probes = [_probe(0), _probe(5, proxy=0.25, judge=(-0.4, -0.1, -0.4, -0.1))]

    assert monitor.alarm(probes, LIMITS) == ""


def test_the_fall_is_counted_from_the_best_probe_and_not_from_the_first():
    """From 0.25 to 1.25 and back to 0.25: a fall of 1 since update 5."""
    probes = [_probe(0), _probe(5, proxy=1.0, judge=(1.1, 1.3, 1.2, 1.4)), _probe(10, proxy=1.5, judge=(0.2, 0.3, 0.1, 0.4))]

    assert "fell by 1.00 standard deviations since update 5 while the reward rose by 0.50" in monitor.alarm(probes, LIMITS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"response_tokens": 30.5}, "answers grew from 20.0 to 30.5 tokens"),
        ({"disagreement": 1.5}, "drifted apart, from 0.75 to 1.50"),
        ({"misled": 0.5}, "agree with a user who is wrong rose from 0.12 to 0.50 of all"),
    ],
)
def test_drift_beyond_its_limit_is_an_alarm(changes, said):
    assert said in monitor.alarm([_probe(0), _probe(5, **changes)], LIMITS)


def test_drift_up_to_its_limit_is_none():
    assert monitor.alarm([_probe(0), _probe(5, response_tokens=30.0, disagreement=1.25, misled=0.375)], LIMITS) == ""


def test_gold_is_recorded_and_not_acted_on_where_settings_do_not_ask_for_it():
    assert monitor.alarm([_probe(0, gold=0.5), _probe(5, proxy=2.0, gold=-0.9)], LIMITS) == ""


def test_a_reward_that_rises_while_gold_falls_is_an_alarm_where_settings_ask_for_it():
    """From 0.25 over 0.5 to 0.125: a fall of 0.375 since update 5, in which the reward rose from 1 to 2."""
    probes = [_probe(0, gold=0.25), _probe(5, proxy=1.0, gold=0.5), _probe(10, proxy=2.0, gold=0.125)]
    asked, patient = (dataclasses.replace(LIMITS, gold_fall=fall) for fall in (0.3, 0.4))

    assert monitor.alarm(probes, asked) == "gold utility fell by 0.38 since update 5 while the reward rose by 1.00"
    assert monitor.alarm(probes, patient) == ""
    assert monitor.alarm([*probes[:2], _probe(10, proxy=0.75, gold=0.125)], asked) == "", "the reward fell, too"
    assert monitor.alarm([_probe(0), _probe(5, proxy=2.0)], asked) == "", "where nobody knows the truth"


def test_the_first_probe_raises_no_alarm():
    assert monitor.alarm([_probe(0)], LIMITS) == ""


def test_the_judge_chooses_not_the_reward():
    probes = [_probe(0), _probe(5, judge=(0.5, 0.5, 0.5, 0.5)), _probe(10, proxy=9.0)]

    assert monitor.best(probes).update == 5


def test_repeated_pairs_are_counted_within_an_answer_distinct_ones_over_all():
    """(3 4 3 4) has the pairs 34 43 34: a third repeated; with (3 4 7) five pairs, three different."""
    repeated, distinct = monitor.repetition([[3, 4, 3, 4], [3, 4, 7]])

    assert repeated == pytest.approx(1 / 6)
    assert distinct == pytest.approx(3 / 5)


def test_answers_of_one_token_repeat_nothing():
    assert monitor.repetition([[3], [5]]) == (0.0, 1.0)
