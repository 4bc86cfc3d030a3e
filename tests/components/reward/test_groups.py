"""Accuracy by group of annotators: by hand, and silent where it should be."""

from __future__ import annotations

from components.records import Comparison, pair_id
from components.reward.groups import accuracy_by_group


def _label(row, annotator, label, responses=("a", "b")):
    return Comparison(id=f"c{row}", prompt_id="p", responses=responses, label=label, annotator=annotator)


def test_labels_count_for_every_group_of_their_annotator_in_whatever_order_they_were_shown():
    """Scores say "a". Ann says so 24 times, shown first, and 3 times "b"; Ben takes "a", shown second, 13 times: 37 of 40."""
    labels = [_label(row, "ann", "first" if row < 24 else "second") for row in range(27)]
    labels += [_label(row, "ben", "second", responses=("b", "a")) for row in range(27, 40)]
    labels += [_label(40, "ben", "tie"), _label(41, None, "second"), _label(42, "ann", "second", responses=("a", "other"))]

    found = accuracy_by_group(labels, {pair_id("p", ("a", "b")): 0.7}, {"region: X": ["ann", "ben"], "few": ["ben"]})

    # Wilson, 37 of 40: 0.8014 to 0.9742
    assert found == {"region: X": {"accuracy": 0.93, "low": 0.8, "high": 0.97}}


def test_equal_scores_are_wrong():
    labels = [_label(row, "ann", "first") for row in range(30)]

    assert accuracy_by_group(labels, {pair_id("p", ("a", "b")): 0.0}, {"g": ["ann"]})["g"]["accuracy"] == 0.0
