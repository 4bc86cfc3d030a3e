"""The two models of labels: small cases by hand, large ones against the truth that made them."""

from __future__ import annotations

import numpy as np
import pytest

from components.annotators import bradley_terry
from components.annotators.dawid_skene import chance_right, dawid_skene, preferences


def _crowd(rng, items, accuracies, each=5):
    truth = rng.integers(0, 3, items)
    item = np.repeat(np.arange(items), each)
    who = np.concatenate([rng.choice(len(accuracies), each, replace=False) for _ in range(items)])
    right = rng.random(len(item)) < np.array(accuracies)[who]
    said = np.where(right, truth[item], (truth[item] + 1 + rng.integers(0, 2, len(item))) % 3)
    return truth, item.astype(np.int32), who.astype(np.int32), said.astype(np.int32)


def test_one_round_of_two_items_is_as_worked_out_by_hand():
    """Items 0, 1; people A, B, C say 0 0 1 and 1 1 1. Majority: T = (2/3, 1/3), (0, 1); p = (1/3, 2/3).

    A's table: true 0 says 0: 2/3 → row (1, 0); true 1 says 0: 1/3, says 1: 1 → row (1/4, 3/4). B as A. C: true 0 says 1 →
    (0, 1); true 1: (0, 1). Item 0: p0 · 1 · 1 · 1 = 1/3 against p1 · 1/4 · 1/4 · 1 = 1/24, so 8/9.
    """
    item, who = np.array([0, 0, 0, 1, 1, 1], np.int32), np.array([0, 1, 2, 0, 1, 2], np.int32)

    found = dawid_skene(item, who, np.array([0, 0, 1, 1, 1, 1], np.int32), iterations=1)

    assert found.posterior[0] == pytest.approx([8 / 9, 1 / 9], abs=1e-6)
    assert found.confusion[0] == pytest.approx(np.array([[1, 0], [0.25, 0.75]]))


def test_it_finds_the_truth_better_than_the_majority_where_people_differ():
    truth, item, who, said = _crowd(np.random.default_rng(1), 2000, [0.95] * 3 + [0.45] * 12)
    votes = np.zeros((2000, 3))
    np.add.at(votes, (item, said), 1)

    found = dawid_skene(item, who, said)

    assert (found.posterior.argmax(1) == truth).mean() > (votes.argmax(1) == truth).mean() + 0.05
    assert np.diagonal(found.confusion, axis1=1, axis2=2).mean(1)[:3].min() > 0.9


def test_a_pool_table_holds_up_who_said_little():
    """One label of somebody: 8 labels of the pool's table keep their table near it, none would make it certain."""
    _, item, who, said = _crowd(np.random.default_rng(2), 300, [0.8] * 6)
    item, who, said = np.append(item, 0), np.append(who, 6), np.append(said, said[0])

    plain, held = dawid_skene(item, who, said), dawid_skene(item, who, said, prior_labels=8)

    assert plain.confusion[6].max() == pytest.approx(1.0)
    assert held.confusion[6].max() < 0.9


def test_nobody_confirms_themselves(world):
    """A label alone on its pair is as likely right as wrong, however many labels its annotator gave."""
    made = world(60).label("ann-a", accuracy=1.0).read()

    right = chance_right(made, preferences(made, is_used=np.ones(60, bool), prior_labels=8))

    assert right == pytest.approx(np.full(60, 0.5), abs=1e-9)


def test_a_known_pair_decides_whatever_people_say(world):
    """All three take the worse answer of pair 0, of which the better one is known."""
    made = world(40)
    for name in ("ann-a", "ann-b", "ann-c"):
        made.label(name, choose=lambda rng, place, good_first: ("second" if good_first else "first") if place == 0 else None)
    labels = made.read(golden=[0])

    found = preferences(labels, is_used=np.ones(120, bool), prior_labels=8)

    first_is_good = labels.known[0] == 1
    assert (found.posterior[0] > 0.99) == first_is_good
    assert np.nanmax(chance_right(labels, found)[labels.pair == 0]) < 0.01


def test_always_the_first_is_no_judgement(world):
    """Of two who label alone, the one who always takes the first shown says next to nothing about the pair."""
    made = world(400)
    for name in ("ann-a", "ann-b", "ann-c"):
        made.label(name, accuracy=0.85, pairs=range(300))
    made.label("ann-d", choose=lambda *_: "first", pairs=range(350)).label("ann-e", accuracy=0.85, pairs=range(350, 400))
    labels = made.read()

    found = preferences(labels, is_used=np.ones(len(labels.ids), bool), prior_labels=8)

    alone = labels.pair >= 300
    habit = np.array(labels.annotators)[labels.annotator] == "ann-d"
    assert np.abs(found.evidence[alone & habit]).mean() < 0.25
    assert np.abs(found.evidence[alone & ~habit]).mean() > 1.0


def test_bradley_terry_knows_a_pair_from_other_pairs_of_the_same_answers(tmp_path):
    """a beats b and b beats c, often; a against c was labelled by one person of unknown reliability, against a."""
    import json

    from components.annotators.labels import read

    rows = []
    for copy in range(30):
        for better, worse in (("aa", "bb"), ("bb", "cc")):
            rows.append({"id": f"{copy}{better}", "responses": [better, worse], "label": "first", "annotator": f"x{copy}"})
    rows.append({"id": "odd", "responses": ["cc", "aa"], "label": "first", "annotator": "new"})
    path = tmp_path / "comparisons.jsonl"
    path.write_text("".join(json.dumps({"prompt_id": "p"} | row) + "\n" for row in rows))
    labels = read(path, opinions={"p": False}, golden=[])

    found = bradley_terry.preferences(labels, is_used=np.ones(len(labels.ids), bool), prior_labels=8)

    assert found[labels.pair[-1]] > 0.9, "aa sorts first and is better than cc, through bb"
