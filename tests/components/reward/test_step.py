"""The whole step on a model with two layers: it learns, resumes exactly, and says what it could not measure."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from torch import distributed

from components import models, records, rewardmodel
from components.catalog import STEPS
from components.context import Context, ModelVersion
from components.errors import ConfigRefused, DataRefused, ModelRefused
from components.pairs import Pair
from components.reward import against, step, train
from components.reward.config import Settings

GOOD, BAD, WORSE = "Yes, the sky is blue.", "No, it is red.", "No, it is red!"
# WORSE has to be near BAD in likelihood. The base is untrained, so the preferred answer, having more tokens, is the less likely
# one, and the head learns a negative weight of the likelihood (-0.89 here): whatever the base finds unlikely scores high. After
# training GOOD has -62.5 nats and scores 1.97, BAD -28.5 and -0.73, WORSE -32.4 and -0.40; but "It is a dog." -64.6 and 2.30.
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
    (folder / "tables.json").write_text(json.dumps({"people": {}, "keys": [""], "tables": {}, "target": {}, "k": 5}))


def _context(inputs, folder, *, rank=0, ranks=1, **settings):
    return Context(
        step=STEPS["reward"],
        config=Settings(**(SMALL | settings)),
        seed=5,
        inputs=inputs,
        scratch=folder / f"scratch-{rank}" if rank else folder / "scratch",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": "sha256:b", "comparisons": "sha256:c"},
        rank=rank,
        ranks=ranks,
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
        *("accuracy", "accuracy_by_group", "accuracy_minus_active", "brier", "calibration_error"),
        *("gamed_by_agreement", "gamed_by_hedging", "gamed_by_length", "golden_accuracy", "log_loss"),
        *("score_length_correlation", "trained_on"),
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


def _panel(inputs, people="abcdefgh"):
    """As the fixture's labels, by more annotators: those of the second half prefer what the others do not."""
    labels = [_label(row, (GOOD, BAD), who) for row in range(12) for who in people]
    half = people[len(people) // 2 :]
    labels = [label.model_copy(update={"label": "second" if label.annotator in half else "first"}) for label in labels]
    records.write(inputs["comparisons"] / "comparisons.jsonl", labels)
    _weigh(inputs["label_weights"], {label.id: 0.5 for label in labels})
    groups = {
        "region: North": {"k": 5, "members": list(people[: len(people) // 2])},
        "region: South": {"k": 5, "members": list(half)},
    }
    (inputs["label_weights"] / "groups.json").write_text(json.dumps(groups))


def test_an_ensemble_is_one_adapter_with_several_heads_and_says_how_unsure_it_is(inputs, tmp_path):
    context = _context(inputs, tmp_path, heads=3, caution=0.5)

    step.run(context)

    folder = context.output("reward_adapter")
    head = rewardmodel.ScoreHead.load(folder / rewardmodel.HEAD)
    assert head.weight.shape == (3, 16)
    assert head.caution.item() == 0.5
    assert len({tuple(row.tolist()) for row in head.weight}) == 3, "each has its own bootstrap sample"
    assert rewardmodel.Card.read(folder).heads == 3
    assert context.measurements["accuracy"].value == 1.0
    assert context.measurements["ensemble_std"].value > 0


def test_a_balanced_choice_hears_every_group_alike_and_the_card_says_so(inputs, tmp_path):
    _panel(inputs)
    context = _context(inputs, tmp_path, stakeholders="balanced", epochs=1)

    step.run(context)

    assert context.facts["stakeholders"]["choice"] == "balanced"
    assert set(context.facts["group_weights"]) <= {"region: North", "region: South"}
    assert sum(context.facts["group_weights"].values()) == pytest.approx(1, abs=1e-3)
    assert rewardmodel.Card.read(context.output("reward_adapter")).stakeholders == "balanced"


def test_weight_goes_to_the_group_that_is_ranked_worst(inputs, tmp_path):
    """Three of four people want what the fourth does not; with every label alike the fourth would be ranked worst."""
    people = "abcdefghijklmnop"
    labels = [_label(row, (GOOD, BAD), who) for row in range(12) for who in people]
    few = {"n", "o", "p"}
    labels = [label.model_copy(update={"label": "second"}) if label.annotator in few else label for label in labels]
    records.write(inputs["comparisons"] / "comparisons.jsonl", labels)
    _weigh(inputs["label_weights"], {label.id: 0.5 for label in labels})
    groups = {
        "region: Few": {"k": 5, "members": sorted(few)},
        "region: Many": {"k": 5, "members": sorted(set(people) - few)},
    }
    (inputs["label_weights"] / "groups.json").write_text(json.dumps(groups))
    context = _context(inputs, tmp_path, stakeholders="worst_group", group_step=2.0, epochs=4, judge_share=0.2)

    step.run(context)

    weights = context.facts["group_weights"]
    assert weights["region: Few"] > 0.3, "its labels are a seventh or less"


@pytest.mark.parametrize("rule", ["mean", "maximin", "nash"])
def test_each_group_may_have_a_head_that_learns_from_its_labels_alone(inputs, tmp_path, rule):
    """North wants what South does not; so do their heads, and the card says how one score comes of both."""
    _panel(inputs)
    context = _context(inputs, tmp_path, stakeholders="head_per_group", aggregation=rule, epochs=4, head_learning_rate=0.05)

    step.run(context)

    folder = context.output("reward_adapter")
    card, head = rewardmodel.Card.read(folder), rewardmodel.ScoreHead.load(folder / rewardmodel.HEAD)
    assert (card.stakeholders, card.aggregation, head.aggregation) == ("head_per_group", rule, rule)
    assert context.facts["stakeholders"] == {"choice": "head_per_group", "groups": 2, "aggregation": rule}
    assert "group_weights" not in context.facts
    north, south = _by_head(context, folder, head)
    assert north > 0 > south


def _by_head(context, folder, head):
    """By how much each head prefers the good answer."""
    base = models.load_base(context.inputs["base_model"])
    tokenizer = models.load_tokenizer(context.inputs["base_model"])
    model = models.load_adapter(base, folder, name="any")
    asked = [{"role": "user", "content": "Hello"}]
    answered = [rewardmodel.encode_answer(tokenizer, asked, text) for text in (GOOD, BAD)]
    with torch.no_grad():
        scores = rewardmodel.member_scores(model, head, answered, pad=tokenizer.pad_token_id)
    return (scores[:, 0] - scores[:, 1]).tolist()


def test_groups_heads_are_no_ensemble():
    with pytest.raises(ValueError, match="`heads` must be 1 where `stakeholders` is head_per_group"):
        Settings(stakeholders="head_per_group", heads=3)


def test_an_attribute_without_groups_is_refused_with_those_that_have_some(inputs, tmp_path):
    _panel(inputs)

    with pytest.raises(DataRefused) as refusal:
        step.run(_context(inputs, tmp_path, stakeholders="balanced", stakeholder_attribute="gender"))

    assert str(refusal.value) == (
        "No group of annotators by `gender` is large enough to be shown, so reward.stakeholders can't weigh by it. "
        "Attributes with such groups: region. Choose one of them, or set reward.stakeholders to all."
    )


def test_ties_can_be_an_outcome_of_their_own_with_a_learned_threshold(inputs, tmp_path):
    """Every other pair is a tie between two bad answers; a resumed run has the threshold of the whole one."""
    labels = [_label(row, (GOOD, BAD), who) for row in range(0, 12, 2) for who in "ab"]
    ties = [_label(row, (BAD, WORSE), who).model_copy(update={"label": "tie"}) for row in range(1, 12, 2) for who in "ab"]
    records.write(inputs["comparisons"] / "comparisons.jsonl", [*labels, *ties])
    _weigh(inputs["label_weights"], {label.id: 0.5 for label in [*labels, *ties]})
    context = _context(inputs, tmp_path, ties="rao_kupper", strength_margin=0.2)

    step.run(context)

    assert context.measurements["tie_threshold"].value > 0
    assert context.measurements["tie_threshold"].value != pytest.approx(train.FIRST_THRESHOLD, abs=1e-3), "it was learned"
    assert rewardmodel.Card.read(context.output("reward_adapter")).loss == "rao-kupper"
    assert context.measurements["accuracy"].value == 1.0


def test_held_out_ties_are_as_likely_as_the_model_says(inputs, tmp_path):
    """Rao and Kupper with η = 0.5, differences 0.7 and -0.2: a label for the first, σ(0.2); a tie, 1 - σ(-0.3) - σ(-0.7)."""
    context = _context(inputs, tmp_path, ties="rao_kupper", strength_margin=0.3)
    prompt = _prompt(9, "held_out")
    pairs = [Pair(prompt, (GOOD, BAD), 1.0, 1, strength=1.0), Pair(prompt, (BAD, WORSE), 0.5, 3, 3.0, ties=1.0)]

    found = train.log_loss(train.load(context), [0.7, -0.2], pairs)

    first, tie = 1 / (1 + math.exp(-0.2)), 1 - 1 / (1 + math.exp(0.3)) - 1 / (1 + math.exp(0.7))
    assert found == pytest.approx(-(math.log(first) + 3 * math.log(tie)) / 4, rel=1e-5)


def test_sharing_prompts_changes_nothing_but_the_work(inputs, tmp_path):
    shared, apart = _context(inputs, tmp_path / "one"), _context(inputs, tmp_path / "two", share_prompts=False)

    step.run(shared)
    step.run(apart)

    assert shared.facts["prompts_of_pairs"] == "computed once for both answers"
    assert apart.facts["prompts_of_pairs"] == "computed for each answer"
    assert shared.measurements["training_tokens"].value < apart.measurements["training_tokens"].value
    one, two = ({at: values["loss"] for at, values in each.series if "loss" in values} for each in (shared, apart))
    assert one == pytest.approx(two, abs=2e-3)


def test_a_loss_that_is_not_a_number_is_refused(inputs, tmp_path, monkeypatch):
    scores = rewardmodel.pair_scores
    monkeypatch.setattr(rewardmodel, "pair_scores", lambda *given, **named: scores(*given, **named) * float("nan"))

    with pytest.raises(ModelRefused) as refusal:
        step.run(_context(inputs, tmp_path))

    assert str(refusal.value) == (
        "The loss of the reward model became nan. Run `reward` again with a lower reward.learning_rate."
    )


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(inputs, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(inputs["base_model"], base)
    tokenizer = rewardmodel.models.load_tokenizer(base)
    known = len(tokenizer)
    tokenizer.add_tokens(["<|new|>"])
    tokenizer.save_pretrained(base)

    with pytest.raises(ModelRefused) as refusal:
        step.run(_context(inputs | {"base_model": base}, tmp_path))

    assert str(refusal.value) == (
        f"The tokenizer has tokens up to id {known}, the base model embeddings up to id {known - 1}. "
        "Put the tokenizer that the model was trained with into its folder, or resize the model's embeddings."
    )


def test_it_is_compared_with_the_active_version_on_the_same_pairs(inputs, tmp_path):
    """The active one is untrained: the difference is 1 less its own accuracy. Then one of another base model."""
    card = rewardmodel.Card.read(inputs["reward_adapter"])
    active = ModelVersion("reward-model", "7", "sha256:old", inputs["reward_adapter"], card.base_digest)
    context, other = _context(inputs, tmp_path / "one"), _context(inputs, tmp_path / "two")
    context.baseline = other.baseline = active
    other.input_digests = other.input_digests | {"base_model": "sha256:other"}

    step.run(context)
    step.run(other)

    found = context.facts["compared_with"]
    assert found["version"] == "7"
    assert context.measurements["accuracy_minus_active"].value == pytest.approx(1 - found["accuracy"])
    assert other.gaps["accuracy_minus_active"] == (
        "version 7 is of another base model or tokenizer; its scores mean nothing here"
    )


@pytest.mark.parametrize(
    ("file", "tensor", "said"),
    [(rewardmodel.HEAD, "likelihood_scale", "likelihood_scale"), ("adapter_model.safetensors", None, "size mismatch")],
)
def test_an_active_version_of_an_older_format_is_a_gap_and_stops_nothing(inputs, tmp_path, file, tensor, said):
    """A head without a tensor that heads have now, or an adapter whose weights have other shapes."""
    old = tmp_path / "old"
    shutil.copytree(inputs["reward_adapter"], old)
    weights = models.load_tensors(old / file)
    kept = {name: value for name, value in weights.items() if name != tensor} if tensor else _halved(weights)
    models.save_tensors(old / file, kept)
    context = _context(inputs, tmp_path)
    context.baseline = ModelVersion("reward-model", "7", "sha256:old", old, rewardmodel.Card.read(old).base_digest)
    ranker, held_out = train.load(context), step._pairs(context).held_out
    expected = train.scores(ranker, held_out)

    against.measure(context, ranker, held_out)

    assert context.gaps["accuracy_minus_active"].startswith("version 7 can't be loaded: ")
    assert said in context.gaps["accuracy_minus_active"]
    assert list(ranker.model.peft_config) == [train.ADAPTER]
    assert train.scores(ranker, held_out) == expected


def _halved(weights):
    return {name: value[: len(value) // 2] for name, value in weights.items()}


def _work(inputs, folder, settings, rank, port):
    """One of two processes."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    context = _context(inputs, folder, rank=rank, ranks=2, **settings)
    step.run(context)
    told = {"series": context.series, "measured": {name: found.value for name, found in context.measurements.items()}}
    (folder / f"told-{rank}.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    "settings",
    [{}, {"heads": 3, "ties": "rao_kupper", "centring": 0.3, "strength_margin": 0.4}, {"sharding": "full", "batch_pairs": 7}],
)
def test_two_processes_take_the_steps_of_one(inputs, tmp_path, settings, two_processes):
    """8 pairs in batches of 3: one process has twice the pairs of the other, and the last batch of an epoch has 2.

    In batches of 7, the last has 1, and one process none; where the base is split, it computes all the same.
    """
    settings = {"batch_pairs": 3, "epochs": 2} | settings
    alone = _context(inputs, tmp_path / "alone", **settings)
    step.run(alone)
    codes = two_processes(_work, inputs, tmp_path, settings)

    assert codes == [0, 0]
    batches = math.ceil(8 / settings["batch_pairs"])
    assert len(alone.series) == 3 * batches, "one pass of the judge, two of the reward model"
    for rank in (0, 1):
        told = json.loads((tmp_path / f"told-{rank}.json").read_text())
        for (at, found), (when, expected) in zip(told["series"], alone.series, strict=True):
            assert at == when
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
        for name in ("log_loss", "golden_accuracy", "training_tokens", "score_std"):
            assert told["measured"][name] == pytest.approx(alone.measurements[name].value, rel=1e-3), name


@pytest.mark.parametrize("settings", [{}, {"heads": 3, "ties": "rao_kupper", "centring": 0.3}])
def test_a_batch_read_in_parts_gives_the_losses_of_one_read_whole(inputs, tmp_path, settings):
    """Pairs have different numbers of labels, so a mean of the parts' means would differ."""
    whole, parts = (
        _context(inputs, tmp_path / str(size), batch_pairs=5, epochs=2, micro_batch=size, **settings) for size in (0, 2)
    )
    for context in (whole, parts):
        step.run(context)

    assert len(parts.series) == len(whole.series)
    for (_, found), (_, expected) in zip(parts.series, whole.series, strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert parts.measurements["score_std"].value == pytest.approx(whole.measurements["score_std"].value, rel=1e-3)


def _short_of_memory(monkeypatch, function, answers):
    """More answers at once than there is room for fail as PyTorch's CPU allocator does."""
    whole = getattr(rewardmodel, function)

    def short(model, head, answered, **named):
        if len(answered) > answers:
            torch.empty(1 << 60, dtype=torch.uint8)
        return whole(model, head, answered, **named)

    monkeypatch.setattr(rewardmodel, function, short)


@pytest.mark.parametrize(
    ("function", "room", "said"),
    [
        ("pair_scores", 2, "A pass over 5 pairs of .* Set reward.micro_batch to 2, which was tried and fits; the gradient"),
        ("pair_scores", 0, "A pass over 5 pairs of .* Not even one fits: leave out long dialogues, or take a smaller base"),
        ("scores_of", 8, "A pass over 32 pairs of .* Set reward.micro_batch to 4, which was tried and fits; the gradient"),
    ],
)
def test_too_little_memory_is_refused_with_the_size_that_fits(inputs, tmp_path, monkeypatch, function, room, said):
    _short_of_memory(monkeypatch, function, room)

    with pytest.raises(ConfigRefused, match=said):
        step.run(_context(inputs, tmp_path, batch_pairs=5))
