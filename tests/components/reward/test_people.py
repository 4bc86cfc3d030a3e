"""Whose labels trained a reward model: counted by hand, and what two versions must not tell together."""

from __future__ import annotations

import json

import pytest

from components.catalog import STEPS
from components.context import Context
from components.pairs import Pair
from components.records import Comparison, Message, Prompt
from components.reward import people


def _label(row, annotator, responses=("a", "b")):
    return Comparison(id=f"c{row}", prompt_id="p", responses=responses, label="first", annotator=annotator)


def test_the_labels_of_a_pair_count_in_whatever_order_they_were_shown():
    prompt = Prompt(id="p", kind="k", split="train", messages=[Message(role="user", content="?")])
    labels = [_label(1, "ann"), _label(2, "ann", ("b", "a")), _label(3, "ben"), _label(4, None), _label(5, "cat", ("a", "z"))]

    assert people.trained_by(labels, [Pair(prompt, ("a", "b"), 1.0, 4)]) == {"ann": 2, "ben": 1}


def _world(folder, women=(8, 9), men=(12, 11), others=(2, 2), **kept):
    """People of whom some trained the model, as `annotators` hands them over; who gave how many labels."""
    sides = {"woman": women, "man": men, "other": others}
    who = [(f"{value}-{row}", value, row < some) for value, (some, rest) in sides.items() for row in range(some + rest)]
    handed = {
        "people": {name: {"": f"digest of {name}"} for name, _, _ in who},
        "keys": [""],
        "tables": {"pool.margins.gender": {"values": [value for _, value, _ in who], "k": 5, "hidden": ["other", "man"]}},
        "target": {"gender": {"woman": 0.5}},
        "k": 5,
    }
    (folder / "label_weights").mkdir(parents=True)
    (folder / "label_weights" / "tables.json").write_text(json.dumps(handed | kept))
    return {name: 10 for name, _, is_some in who if is_some}


def _measure(folder, given, *before):
    context = Context(
        step=STEPS["reward"],
        config=None,
        seed=1,
        inputs={"label_weights": folder / "label_weights"},
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        earlier=[each.output("shown_contributors") for each in before],
    )
    people.measure(context, given)
    return context


def _kept(context):
    return json.loads((context.output("shown_contributors") / "pools.json").read_text())


def test_people_and_their_share_of_the_labels_by_value(tmp_path):
    """8 of 22 are women, who gave 80 of 220 labels: 0.35, to a twentieth. d = (8/22 - 1/2) / sqrt((0.231 + 0.25) / 2)."""
    context = _measure(tmp_path, _world(tmp_path))

    found = context.facts["trained_on"]
    assert found["margins"]["gender"] == {
        "cells": {"woman": 8, "all other values": 14},
        "labels": {"woman": 0.35, "all other values": 0.65},
        "base": 20,
        "k": 5,
        "together": 2,
    }
    assert found["representativeness"]["gender"]["woman"] == {"share": 0.35, "target": 0.5, "difference": -0.28}
    assert found["people_rounded_down"] == 20
    assert context.gaps == {}


def test_a_table_in_which_no_value_can_be_told_apart_is_a_gap_with_its_name(tmp_path):
    """Of each value fewer than five people trained it, or fewer than five did not."""
    context = _measure(tmp_path, _world(tmp_path, women=(3, 9), men=(10, 4)))

    assert context.facts["trained_on"]["margins"] == {}
    assert context.gaps["trained_on_tables"].endswith("to be told apart: gender")


def test_what_one_busy_person_gave_is_no_share_of_a_row(tmp_path):
    given = _world(tmp_path)

    context = _measure(tmp_path, given | {"woman-0": 90})

    assert "labels" not in context.facts["trained_on"]["margins"]["gender"]
    assert context.facts["trained_on"]["margins"]["gender"]["cells"]["woman"] == 8


def test_nobody_is_named_in_what_is_stated_and_kept(tmp_path):
    context = _measure(tmp_path, _world(tmp_path))

    text = json.dumps([context.facts, context.gaps])
    assert "woman-" not in text
    assert "digest of" not in text
    assert [len(each["people"]) for each in _kept(context)] == [22, 22, 44], "those who trained it, the others, all"


def test_an_attacker_can_not_subtract_two_versions_of_the_reward_model(tmp_path):
    """The second is trained on one woman more, of the same pool. Unguarded, their tables differ by exactly her."""
    first = _measure(tmp_path / "1", _world(tmp_path / "1"))
    second = _world(tmp_path / "2", women=(9, 8))

    unguarded, guarded = _measure(tmp_path / "2", second), _measure(tmp_path / "2", second, first)

    cells = [context.facts["trained_on"]["margins"]["gender"]["cells"] for context in (first, unguarded)]
    assert cells[1]["woman"] - cells[0]["woman"] == 1
    assert "trained_on" not in guarded.facts
    assert guarded.gaps["trained_on"].startswith("fewer than 5 people came or went since")
    assert _kept(guarded) == [], "nothing was shown"


def test_an_attacker_can_not_subtract_the_pool_of_an_earlier_version(tmp_path):
    """Earlier 44 labelled. Now eight more did, and all but three of those 44 trained the model."""
    first = _measure(tmp_path / "1", _world(tmp_path / "1"))
    names = {name: {"": f"digest of {name}"} for name in json.loads(_handed(tmp_path / "1"))["people"]}
    more = names | {f"new-{row}": {"": f"digest of new-{row}"} for row in range(8)}
    values = [name.partition("-")[0] for name in more]
    table = {"pool.margins.gender": {"values": values, "k": 5, "hidden": []}}
    _world(tmp_path / "2", people=more, tables=table)
    given = dict.fromkeys([*names][3:], 10)

    context = _measure(tmp_path / "2", given, first)

    assert context.gaps["trained_on"].startswith("fewer than 5 people came or went since")


def _handed(folder):
    return (folder / "label_weights" / "tables.json").read_text()


def test_the_same_people_are_shown_again(tmp_path):
    first = _measure(tmp_path / "1", _world(tmp_path / "1"))
    again = _measure(tmp_path / "2", _world(tmp_path / "2"), first)

    assert again.facts["trained_on"] == first.facts["trained_on"]


def test_a_table_with_other_rows_than_an_earlier_version_is_left_out(tmp_path):
    """Four women trained the first, so that women had no row of their own; eleven the second."""
    first = _measure(tmp_path / "1", _world(tmp_path / "1", women=(4, 13)))
    second = _measure(tmp_path / "2", _world(tmp_path / "2", women=(11, 6)), first)

    assert "gender" not in second.facts["trained_on"]["margins"]
    assert second.gaps["trained_on.pool.margins.gender"].startswith("an earlier release hid other cells of this table")


@pytest.mark.parametrize(
    ("kept", "given", "reason"),
    [
        ({}, {}, "the source does not say who gave the labels that trained it"),
        ({"tables": {}}, {"woman-0": 3}, "the audit shows no table of all who labelled"),
    ],
)
def test_where_nobody_is_known_or_the_pool_is_withheld_that_is_a_gap(tmp_path, kept, given, reason):
    _world(tmp_path, **kept)

    context = _measure(tmp_path, given)

    assert context.gaps["trained_on"].startswith(reason)
    assert _kept(context) == []


def test_weights_from_before_tables_were_handed_over_leave_a_gap(tmp_path):
    given = _world(tmp_path)
    (tmp_path / "label_weights" / "tables.json").unlink()

    context = _measure(tmp_path, given)

    assert context.gaps["trained_on"].startswith("the audit shows no table of all who labelled")


def test_digests_by_another_key_can_not_be_compared_and_nothing_shows(tmp_path):
    first = _measure(tmp_path / "1", _world(tmp_path / "1"))
    path = first.output("shown_contributors") / "pools.json"
    path.write_text(json.dumps([each | {"key": "another"} for each in _kept(first)]))

    context = _measure(tmp_path / "2", _world(tmp_path / "2"), first)

    assert context.gaps["trained_on"].startswith("an earlier release kept digests of its people by another")
