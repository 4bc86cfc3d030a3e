"""Accuracy by group of annotators: by hand, and silent where it should be."""

from __future__ import annotations

from components.records import Comparison, pair_id
from components.reward.groups import Group, accuracy_by_group


def _label(row, annotator, label, responses=("a", "b")):
    return Comparison(id=f"c{row}", prompt_id="p", responses=responses, label=label, annotator=annotator)


def test_labels_count_for_every_group_of_their_annotator_in_whatever_order_they_were_shown():
    """Scores say "a". Ann says so 17 of 20 times, shown first; Ben takes "a", shown second, 13 times, Cat 7: 37 of 40."""
    labels = [_label(row, "ann", "first" if row < 17 else "second") for row in range(20)]
    labels += [_label(row, "ben" if row < 33 else "cat", "second", responses=("b", "a")) for row in range(20, 40)]
    labels += [_label(40, "ben", "tie"), _label(41, None, "second"), _label(42, "ann", "second", responses=("a", "other"))]

    found = accuracy_by_group(
        labels, {pair_id("p", ("a", "b")): 0.7}, {"region: X": Group(["ann", "ben", "cat"], 3), "few": Group(["ben", "cat"], 2)}
    )

    # Wilson, 37 of 40: 0.8014 to 0.9742
    assert found == {"region: X": {"accuracy": 0.93, "low": 0.8, "high": 0.97}}


def test_equal_scores_are_wrong():
    labels = [_label(row, "ann" if row < 15 else "ben", "first") for row in range(30)]

    assert accuracy_by_group(labels, {pair_id("p", ("a", "b")): 0.0}, {"g": Group(["ann", "ben"], 2)})["g"]["accuracy"] == 0.0


def test_a_group_in_which_one_member_labelled_shows_nothing():
    """Five members, thirty labels of one of them: the accuracy would be that person's."""
    labels = [_label(row, "solo", "first" if row < 10 else "second") for row in range(30)]

    assert accuracy_by_group(labels, {pair_id("p", ("a", "b")): 1.0}, {"g": Group(["solo", "b", "c", "d", "e"], 5)}) == {}
