"""The whole step on a model with two layers: it learns, resumes exactly, and says what it could not measure."""

from __future__ import annotations

import json

import pytest

from components import records, rewardmodel
from components.catalog import STEPS
from components.context import Context
from components.errors import DataRefused
from components.reward import step, train
from components.reward.config import Settings

GOOD, BAD, WORSE = "Yes, the sky is blue.", "No, it is red.", "No, it is red!"
SMALL = {"epochs": 8, "batch_pairs": 4, "learning_rate": 0.02, "head_learning_rate": 0.02}


@pytest.fixture
def inputs(tiny_models, tmp_path):
    tables = {name: tmp_path / name for name in ("prompts", "comparisons", "golden", "label_weights")}
    splits = {"train": range(8), "held_out": range(8, 12)}
    prompts = [_prompt(row, split) for split, rows in splits.items() for row in rows]
    labels = [_label(row, (GOOD, BAD) if row % 2 else (BAD, GOOD), who) for row in range(12) for who in "ab"]
    records.write(tables["prompts"] / "prompts.jsonl", prompts)
    records.write(tables["comparisons"] / "comparisons.jsonl", labels)
    golden = [
        records.GoldenPair(id=f"g{row}", prompt_id=f"p{row}", responses=(GOOD, WORSE), better="first") for row in (3, 9, 10)
    ]
    records.write(tables["golden"] / "golden.jsonl", golden)
    _weigh(tables["label_weights"], {label.id: 0.5 for label in labels})
    return tables | tiny_models


def _prompt(row, split):
    messages = [records.Message(role="user", content=f"Is the sky blue? {'Yes? ' * (row % 3)}")]
    return records.Prompt(id=f"p{row}", kind="check" if row % 2 else "fact", split=split, messages=messages)


def _label(row, responses, who="a"):
    label = "first" if responses[0] == GOOD else "second"
    return records.Comparison(id=f"c{row}-{who}", prompt_id=f"p{row}", responses=responses, label=label, annotator=who)


def _weigh(folder, weights):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"comparison": name, "weight": weight}) + "\n" for name, weight in weights.items()]
    (folder / "weights.jsonl").write_text("".join(lines))
    (folder / "groups.json").write_text("{}")


def _context(inputs, folder, **settings):
    return Context(
        step=STEPS["reward"],
        config=Settings(**(SMALL | settings)),
        seed=5,
        inputs=inputs,
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": "sha256:b", "comparisons": "sha256:c"},
    )


def _bytes(context):
    folder = context.output("reward_adapter")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_it_learns_the_preference_and_says_how_sure_that_is(inputs, tmp_path):
    context = _context(inputs, tmp_path)

    step.run(context)

    accuracy, golden = context.measurements["accuracy"], context.measurements["golden_accuracy"]
    assert (accuracy.value, accuracy.n, accuracy.high) == (1.0, 4, 1.0)
    assert accuracy.low == pytest.approx(0.5101, abs=1e-4), "Wilson, 4 of 4"
    assert (golden.value, golden.n) == (1.0, 2), "golden pairs of training prompts don't count"
    assert context.facts["golden_accuracy_by_kind"] == {
        "check": {"accuracy": 1.0, "pairs": 1},
        "fact": {"accuracy": 1.0, "pairs": 1},
    }
    assert context.facts["accuracy_by_length"] == {"preferred longer": {"accuracy": 1.0, "pairs": 4}}
    assert context.artifact_tags["reward_adapter"] == {
        "base_digest": "sha256:b",
        "preference_digest": "sha256:c",
        "label_weights_digest": "",
        "state": "active",
        "accuracy": "1.0000",
    }


def test_the_card_standardises_the_training_scores(inputs, tmp_path):
    context = _context(inputs, tmp_path)

    step.run(context)

    folder = context.output("reward_adapter")
    card = rewardmodel.Card.read(folder)
    head = rewardmodel.ScoreHead.load(folder / rewardmodel.HEAD)
    tokenizer = rewardmodel.models.load_tokenizer(inputs["base_model"])
    model = rewardmodel.models.load_adapter(rewardmodel.models.load_base(inputs["base_model"]), folder, name="any")
    prompts = [[message.model_dump() for message in _prompt(row, "train").messages] for row in range(8)]
    texts = [rewardmodel.encode_answer(tokenizer, prompt, answer) for prompt in prompts for answer in (GOOD, BAD)]
    scores = [(score - card.mean) / card.std for score in rewardmodel.score(model, head, texts, pad=tokenizer.pad_token_id)]
    assert sum(scores) / 16 == pytest.approx(0, abs=1e-4)
    assert sum(score**2 for score in scores) / 16 == pytest.approx(1, abs=1e-4)
    assert card.train_pairs == 8


def test_a_killed_run_goes_on_as_if_it_had_never_stopped(inputs, tmp_path, monkeypatch):
    whole = _context(inputs, tmp_path / "whole", checkpoint_every=1)
    step.run(whole)
    killed = _context(inputs, tmp_path / "killed", checkpoint_every=1)
    draw = train._draw

    def die_in_the_sixth_update(update, *given, **named):
        if update == 5:
            raise KeyboardInterrupt
        return draw(update, *given, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "_draw", die_in_the_sixth_update)
        step.run(killed)
    resumed = _context(inputs, tmp_path / "killed", checkpoint_every=1)
    step.run(resumed)

    assert _bytes(resumed) == _bytes(whole)
    assert resumed.series == whole.series
    assert resumed.measurements == whole.measurements


def test_padding_does_not_change_a_score(inputs, tiny_models):
    tokenizer = rewardmodel.models.load_tokenizer(tiny_models["base_model"])
    base = rewardmodel.models.load_base(tiny_models["base_model"])
    model = rewardmodel.models.load_adapter(base, tiny_models["reward_adapter"], name="any")
    head = rewardmodel.ScoreHead.load(tiny_models["reward_adapter"] / rewardmodel.HEAD)
    texts = [
        rewardmodel.Answered([5, 9], [12, 30, 7, 1]),
        rewardmodel.Answered([8], [1]),
        rewardmodel.Answered([2, 6, 4], [9, 1]),
    ]

    together = rewardmodel.score(model, head, texts, pad=tokenizer.pad_token_id)
    alone = [rewardmodel.score(model, head, [text], pad=tokenizer.pad_token_id)[0] for text in texts]

    assert together == pytest.approx(alone, abs=1e-5)


def test_without_held_out_and_golden_pairs_the_gaps_are_named(inputs, tmp_path):
    records.write(
        inputs["comparisons"] / "comparisons.jsonl", [_label(row, (GOOD, BAD), who) for row in range(8) for who in "ab"]
    )
    records.write(inputs["golden"] / "golden.jsonl", [])
    context = _context(inputs, tmp_path, epochs=1)

    step.run(context)

    assert sorted(context.gaps) == [
        *("accuracy", "accuracy_by_group", "brier", "calibration_error", "golden_accuracy", "score_length_correlation")
    ]
    assert "accuracy" not in context.measurements


def test_no_training_comparison_is_refused(inputs, tmp_path):
    records.write(inputs["comparisons"] / "comparisons.jsonl", [_label(9, (GOOD, BAD))])

    with pytest.raises(DataRefused, match="no comparison of a prompt of split `train`"):
        step.run(_context(inputs, tmp_path))


def test_long_dialogues_are_refused_or_left_out_as_told(inputs, tmp_path):
    labels = [_label(row, (good, BAD), who) for row, good in ((1, GOOD), (2, GOOD * 20)) for who in "ab"]
    records.write(inputs["comparisons"] / "comparisons.jsonl", labels)
    _weigh(inputs["label_weights"], {label.id: 1.0 for label in labels})

    with pytest.raises(DataRefused, match="1 of 2 judge training pairs are longer than the context of 64 tokens"):
        step.run(_context(inputs, tmp_path / "one"))
    context = _context(inputs, tmp_path / "two", long_dialogues="leave_out", epochs=1)
    step.run(context)

    assert context.gaps["training_pairs_left_out"] == "1 of 2 are longer than the context"
