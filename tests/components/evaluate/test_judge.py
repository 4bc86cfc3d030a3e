from __future__ import annotations

import random

import numpy as np

from components.evaluate import judge, report, statistics

GOOD = ["thank you", "here is how", "of course", "you could try"]
BAD = ["go away", "no idea", "that is dull", "ask somebody else"]


def _pairs(count: int, seed: int, *, noise: float = 0.0) -> list[judge.Pair]:
    dice = random.Random(seed)
    pairs = [(f"{dice.choice(GOOD)} {number % 6}", f"{dice.choice(BAD)} {number % 5}") for number in range(count)]
    return [(worse, better) if dice.random() < noise else (better, worse) for better, worse in pairs]


def test_a_judge_learns_what_people_prefer_and_says_how_well() -> None:
    found = judge.fit(_pairs(120, 1), _pairs(60, 2), seed=0)

    assert isinstance(found, judge.Judge)
    assert found.accuracy.value > 0.95
    assert (found.accuracy.n, found.fitted_on) == (60, 120)
    assert found.beats_chance
    liked, disliked = found.score([[], []], ["thank you", "go away"])
    assert liked > disliked


def test_a_judge_of_coin_flips_does_not_beat_chance() -> None:
    found = judge.fit(_pairs(120, 1, noise=0.5), _pairs(60, 2, noise=0.5), seed=0)

    assert isinstance(found, judge.Judge)
    assert not found.beats_chance


def test_a_weak_judge_leaves_little_of_a_margin() -> None:
    """Right on 45 of 60: Wilson's low end is 0.627679, so 2 · 0.627679 - 1 = 0.255359 of a true preference is seen."""
    sharp = judge.Judge(None, np.array([]), statistics.wilson(45, 60), 100)
    guessing = judge.Judge(None, np.array([]), statistics.wilson(31, 60), 100)

    assert abs(sharp.sharpness - 0.255359) < 1e-6
    assert guessing.sharpness == 0.0


def test_labels_of_one_pair_are_one_comparison_in_whatever_order_it_was_shown() -> None:
    """Two of three say a; b and c tie; d alone is labelled twice alike. Else people who label the same narrow the interval."""
    labels = [
        ("p", ("a", "x"), "first"),
        ("p", ("x", "a"), "second"),
        ("p", ("a", "x"), "second"),
        ("p", ("b", "c"), "first"),
        ("p", ("c", "b"), "first"),
        ("q", ("d", "x"), "second"),
        ("q", ("d", "x"), "second"),
        ("q", ("e", "x"), "tie"),
    ]

    assert judge.agreed(labels) == [("a", "x"), ("x", "d")]


def test_too_few_comparisons_make_no_judge_and_a_reason() -> None:
    assert judge.fit(_pairs(19, 1), _pairs(60, 2), seed=0) == (
        "the split `judge` has 19 comparisons that are not ties; a judge needs 20"
    )


def test_a_win_rate_counts_all_pairs_of_answers_and_ties_as_half() -> None:
    """First prompt: 3 beats 1 and 2, 2 beats 1 and ties 2: 3.5 of 4 wins, 0.375 above half. Second: one loss of one kind."""
    first, second = np.array([[3.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 2.0], [5.0, 7.0]])

    assert report.wins(first, second).tolist() == [0.375, -0.5]
