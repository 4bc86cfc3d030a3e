"""The reward model of the base before, measured on what the new base says."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from components import models, records
from components.catalog import STEPS
from components.context import Context, Predecessor
from components.reward import carryover, step
from components.reward.config import Settings

GOOD, BAD, WORSE = "Yes, the sky is blue.", "No, it is red.", "No, it is red!"
SMALL = {"epochs": 6, "batch_pairs": 4, "learning_rate": 0.02, "head_learning_rate": 0.02, "carryover_tokens": 8}


@pytest.fixture
def inputs(tiny_models, tmp_path):
    tables = {name: tmp_path / name for name in ("prompts", "comparisons", "golden", "label_weights")}
    splits = {"train": range(8), "held_out": range(8, 14), "evaluation": range(14, 20)}
    prompts = [_prompt(row, split) for split, rows in splits.items() for row in rows]
    labels = [
        records.Comparison(id=f"c{row}{who}", prompt_id=f"p{row}", responses=(GOOD, BAD), label="first", annotator=who)
        for row in range(12)
        for who in "ab"
    ]
    records.write(tables["prompts"] / "prompts.jsonl", prompts)
    records.write(tables["comparisons"] / "comparisons.jsonl", labels)
    _golden(tables, "first")
    tables["label_weights"].mkdir()
    lines = [json.dumps({"comparison": label.id, "weight": 0.5}) + "\n" for label in labels]
    (tables["label_weights"] / "weights.jsonl").write_text("".join(lines))
    (tables["label_weights"] / "groups.json").write_text("{}")
    handed = {"people": {}, "keys": [""], "tables": {}, "target": {}, "k": 5}
    (tables["label_weights"] / "tables.json").write_text(json.dumps(handed))
    return tables | {name: tiny_models[name] for name in ("base_model", "sft_adapter")}


def _prompt(row, split):
    messages = [records.Message(role="user", content=f"Is the sky blue? {'Yes? ' * (row % 3)}")]
    return records.Prompt(id=f"p{row}", kind="check", split=split, messages=messages)


def _golden(tables, better):
    pairs = [
        records.GoldenPair(id=f"g{row}", prompt_id=f"p{row}", responses=(GOOD, WORSE), better=better) for row in (9, 10, 15)
    ]
    records.write(tables["golden"] / "golden.jsonl", pairs)


def _context(inputs, folder, predecessor=None, **settings):
    return Context(
        step=STEPS["reward"],
        config=Settings(**(SMALL | settings)),
        seed=5,
        inputs=inputs,
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": "sha256:b", "comparisons": "sha256:c"},
        predecessor=predecessor,
    )


@pytest.fixture
def before(inputs, tmp_path):
    """A reward model that was trained on these labels, for the base model `tiny`."""
    context = _context(inputs, tmp_path / "before")
    step.run(context)
    made = {name: inputs[name] for name in ("base_model", "sft_adapter")}
    assert context.facts["predecessor"] == carryover.NONE
    return Predecessor("3", "sha256:d", "sha256:old", context.output("reward_adapter"), made)


@pytest.fixture
def another_base(inputs, tmp_path):
    """The same shape with other weights, so that it says something else."""
    folder = tmp_path / "another"
    shutil.copytree(inputs["base_model"], folder)
    model = models.load_base(folder)
    with torch.no_grad():
        torch.manual_seed(3)
        model.get_input_embeddings().weight.normal_(std=0.6)
    model.save_pretrained(folder)
    return folder


def _files(context):
    return {path.name: path.read_bytes() for path in sorted(context.output("reward_adapter").iterdir())}


def test_drift_is_evidentlys_distance_over_the_references_deviation():
    """Reference 0 and 4: standard deviation 2. Both moved by 3: distance 3, so 1.5. Two of two against two of two: p = 1/3."""
    distance, p_value = carryover.drift([0.0, 4.0], [3.0, 7.0])

    assert distance == pytest.approx(1.5)
    assert p_value == pytest.approx(1.0)


def test_what_was_learnt_before_is_measured_on_the_golden_pairs_of_now(inputs, before, another_base, tmp_path):
    """It learnt that GOOD is better: right on 3 of 3, and on 0 of 3 once the golden pairs say the opposite."""
    context = _context(inputs | {"base_model": another_base}, tmp_path / "a", before)
    carryover.measure(context, step._pairs(context).golden)
    _golden(inputs, "second")
    opposite = _context(inputs | {"base_model": another_base}, tmp_path / "b", before)
    carryover.measure(opposite, step._pairs(opposite).golden)

    found = context.measurements["predecessor_golden_accuracy"]
    assert (found.value, found.n, found.high) == (1.0, 3, 1.0)
    assert found.low == pytest.approx(0.4385, abs=1e-4), "Wilson, 3 of 3"
    assert opposite.measurements["predecessor_golden_accuracy"].value == 0.0
    assert context.facts["predecessor"] == {"version": "3", "digest": "sha256:d", "base_digest": "sha256:old"}
    assert context.artifact_tags["reward_adapter"]["predecessor_golden_accuracy"] == "1.0000"
    assert context.artifact_tags["reward_adapter"]["predecessor_version"] == "3"


def test_scores_drift_where_the_base_says_something_else_and_only_there(inputs, before, another_base, tmp_path):
    same, other = (
        _context(inputs, tmp_path / "a", before),
        _context(inputs | {"base_model": another_base}, tmp_path / "b", before),
    )
    for context in (same, other):
        carryover.measure(context, [])

    assert same.measurements["predecessor_score_drift"].value == 0.0
    assert same.facts["predecessor_drift"]["drifted"] is False
    assert same.measurements["predecessor_score_old_base"] == same.measurements["predecessor_score_new_base"]
    assert same.measurements["predecessor_score_new_base"].n == 12, "prompts of the splits held_out and evaluation"
    assert other.measurements["predecessor_score_drift"].value > carryover.DRIFTED
    assert other.facts["predecessor_drift"]["drifted"] is True
    assert other.measurements["predecessor_score_old_base"] == same.measurements["predecessor_score_old_base"]
    assert "there are no golden pairs" in other.gaps["predecessor_golden_accuracy"]


def test_the_new_reward_model_is_the_same_with_and_without(inputs, before, tmp_path):
    without, context = _context(inputs, tmp_path / "a"), _context(inputs, tmp_path / "b", before, carryover_prompts=5)
    step.run(without)
    step.run(context)

    assert _files(context) == _files(without)
    assert context.measurements["predecessor_score_new_base"].n == 5


def test_one_that_can_not_be_looked_at_is_a_gap_and_stops_nothing(inputs, before, tmp_path):
    gone = dataclasses.replace(before, inputs={}, problem="version 3 was revoked")
    (before.path / "reward.json").write_text('{"an": "old format"}')
    for name, predecessor, said in (("a", gone, "version 3 was revoked"), ("b", before, "can't be loaded: ")):
        context = _context(inputs, tmp_path / name, predecessor)
        step.run(context)

        assert said in context.gaps["predecessor"]
        assert _files(context)
        assert not [name for name in context.measurements if name.startswith("predecessor")]


def test_prompts_that_leave_no_room_for_an_answer_are_a_gap(inputs, before, tmp_path):
    context = _context(inputs, tmp_path / "a", before, carryover_tokens=64)

    carryover.measure(context, [])

    assert "no prompt of the splits held_out and evaluation fits" in context.gaps["predecessor_score_drift"]
