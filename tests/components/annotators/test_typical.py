"""What is typical of a pool, worked out by hand where it can be."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from components.annotators import accuracy, dawid_skene, typical
from components.annotators.config import Settings


def test_nobodys_own_label_is_part_of_what_others_say():
    """Two people, right on 90 % and 75 %, so weights 0.8 and 0.5; the one says 3 for the first response, the other 2 against.

    Beside the first: 0.5 · -2 / (0.5 + 0.5) = -1; beside the second: 0.8 · 3 / (0.8 + 0.5) = 1.8462.
    """
    labels = SimpleNamespace(annotator=np.array([0, 1]), pair=np.array([0, 0]), pairs=["p"])
    judged = SimpleNamespace(value=np.array([0.9, 0.75]))

    found = typical._others(labels, np.array([3.0, -2.0]), judged, np.ones(2, bool))

    assert found.tolist() == pytest.approx([-1.0, 1.8462], abs=1e-4)


def test_a_copy_is_no_part_of_what_others_say():
    """As above, but the second label is a copy: nothing is left beside the first, and the first beside the copy."""
    labels = SimpleNamespace(annotator=np.array([0, 1]), pair=np.array([0, 0]), pairs=["p"])
    judged = SimpleNamespace(value=np.array([0.9, 0.75]))

    found = typical._others(labels, np.array([3.0, -2.0]), judged, np.array([True, False]))

    assert found.tolist() == pytest.approx([0.0, 1.8462], abs=1e-4)


def test_contexts_hold_equally_many_labels_that_count():
    clear = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 99.0])

    found = typical._ranked(clear, clear < 50, 3)

    assert found.tolist() == [2, 0, 1, 0, 1, 2, 2]


def test_a_blind_labeller_takes_either_side_alike():
    """Outcomes: tie; 1, 2, 3 with the side; 1, 2, 3 against it. Means of two contexts, then of the sides."""
    table = np.array([[0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1], [0.3, 0.3, 0.1, 0.1, 0.1, 0.05, 0.05]])

    found = typical._blind(table)

    # Ties (0.1 + 0.3) / 2; strength 1: with (0.1 + 0.3) / 2 = 0.2, against 0.1; 2: 0.1, 0.075; 3: 0.25, 0.075.
    assert found.tolist() == pytest.approx([0.2, 0.15, 0.0875, 0.1625, 0.15, 0.0875, 0.1625])
    assert found.sum() == pytest.approx(1.0)


def test_care_has_mean_zero_in_the_pool_and_is_lower_for_the_blind(world):
    """A pool of careful people, surer on pairs that are clear, and one who throws dice."""
    made = world(200, seed=1)
    for number in range(20):
        made.label(f"ann-{number:02d}", accuracy=0.85, pairs=made.rng.choice(200, 80, replace=False))
    made.label("ann-dice", accuracy=0.5, pairs=range(100))
    labels = made.read(golden=range(30))
    found = dawid_skene.preferences(labels, is_used=np.ones(len(labels.ids), bool), prior_labels=Settings().prior_labels)
    right = dawid_skene.chance_right(labels, found)
    judged = accuracy.estimate(accuracy.Likelihood(labels.annotator, right, len(labels.annotators)))

    beside = typical.typical(labels, found, judged, is_used=np.ones(len(labels.ids), bool))

    dice = labels.annotator == labels.annotators.index("ann-dice")
    assert abs(beside.care.mean()) < 0.01
    assert beside.care[~dice].mean() > 0
    assert beside.care[dice].mean() == pytest.approx(beside.blind_care[dice].mean(), abs=0.15)
    assert (beside.blind_care < 0).all()
