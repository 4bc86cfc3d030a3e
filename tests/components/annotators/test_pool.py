"""The pool's tastes: found where they were put, absent where they were not, with errors that know about people."""

from __future__ import annotations

import numpy as np
import pytest

from components.annotators.pool import tastes

DOUBTED = 1 / (1 + np.exp(1.5))


def _labelled(world, length_pull, *, people=30, pairs=400, seed=0):
    """People who are right four times in five, and more often so where that is the longer answer, by `length_pull`."""
    made = world(pairs, seed=seed)
    made.answers = [
        ("w " * int(made.rng.integers(4, 40)) + f"good {pair}", "w " * int(made.rng.integers(4, 40)) + f"bad {pair}")
        for pair in range(pairs)
    ]
    for number in range(people):
        chosen = made.rng.choice(pairs, 80, replace=False)

        def choose(rng, place, good_first, chosen=chosen):
            good, bad = made.answers[chosen[place]]
            tens = (len(good.split()) - len(bad.split())) / 10
            good_wins = rng.random() < 1 / (1 + np.exp(-(1.4 + length_pull * tens)))
            return "first" if good_wins == good_first else "second"

        made.label(f"ann-{number:02d}", pairs=chosen, choose=choose)
    return made.read(golden=range(pairs))


def test_a_liking_for_length_is_found_with_its_size(world):
    """0.5 of log-odds for ten words more."""
    labels = _labelled(world, 0.5)

    found = tastes(labels, np.ones(len(labels.ids), bool), known_only=True)

    assert found["words"].low < 0.5 < found["words"].high
    assert found["words"].low > 0.2
    assert found["position"].low < 0 < found["position"].high
    assert set(found) == {"words", "position"}, "no answer here agrees, doubts or formats"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_liking_is_found_where_there_is_none(world, seed):
    labels = _labelled(world, 0.0, seed=seed)

    found = tastes(labels, np.ones(len(labels.ids), bool), known_only=True)["words"]

    assert found.low < 0.1
    assert found.high > -0.1


def test_few_people_or_labels_say_nothing(world):
    labels = _labelled(world, 0.5, people=4)

    assert tastes(labels, np.ones(len(labels.ids), bool), known_only=True) == {}


def test_a_term_in_which_few_pairs_differ_is_not_held_back_by_how_many_there_are(world):
    """A doubt in one answer of 3 of 3,000 pairs costs it 1.5 of log-odds; the other pairs are coin-flips."""
    made = world(3000)
    made.answers = [(f"it is {'perhaps' if pair < 3 else 'just'} so", f"it is thus {pair}") for pair in range(3000)]
    for number in range(40):
        chosen = [*range(3), *range(3 + 67 * number, 303 + 67 * number)]

        def choose(rng, place, good_first):
            return "first" if (rng.random() < (DOUBTED if place < 3 else 0.5)) == good_first else "second"

        made.label(f"ann-{number:02d}", pairs=chosen, choose=choose)
    labels = made.read()

    found = tastes(labels, np.ones(len(labels.ids), bool), known_only=False)["hedging"]

    assert found.low < -1.5 < found.high
    assert found.value < -1.2
