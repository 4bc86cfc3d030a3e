"""The whole step on a model with two layers: repeatable, resumable, and it refuses what it must."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from pydantic import ValidationError

from components import checkpoints, models, records, rewardmodel
from components.catalog import STEPS
from components.context import Context
from components.errors import ConfigRefused, DataRefused, ModelRefused
from components.ppo import actors as acting
from components.ppo import rollout, step, update
from components.ppo.config import Settings

SMALL = {
    "updates": 4,
    "rollouts": 6,
    "minibatch": 4,
    "max_new_tokens": 8,
    "value_hidden": 8,
    "judged_prompts": 5,
    "selection": "last",
}


@pytest.fixture
def inputs(tiny_models, tmp_path):
    prompts = tmp_path / "prompts"
    questions = ["Is the sky blue?", "Is it red?", "No, is the sky red?", "Is it?", "Yes?"]
    records.write(prompts / "prompts.jsonl", [_prompt(row, text) for row, text in enumerate(questions)])
    return tiny_models | {"prompts": prompts}


def _prompt(row, text, split="train", truth=None):
    messages = [records.Message(role="user", content=text)]
    return records.Prompt(id=f"p{row}", kind="fact", split=split, messages=messages, truth=truth)


def _context(inputs, folder, *, digest="sha256:b", **settings):
    return Context(
        step=STEPS["ppo"],
        config=Settings(**(SMALL | settings)),
        seed=5,
        inputs=inputs,
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": digest},
    )


def _adapter(context):
    return (context.output("policy_adapter") / "adapter_model.safetensors").read_bytes()


def test_same_seed_gives_the_same_adapter_and_the_same_curves(inputs, tmp_path):
    one, two = _context(inputs, tmp_path / "one"), _context(inputs, tmp_path / "two")

    step.run(one)
    step.run(two)

    assert _adapter(one) == _adapter(two)
    assert one.series == two.series
    assert one.measurements == two.measurements


def test_the_policy_moves_and_the_reference_does_not(inputs, tmp_path):
    context = _context(inputs, tmp_path)

    step.run(context)

    start = models.load_tensors(inputs["sft_adapter"] / "adapter_model.safetensors")
    end = models.load_tensors(context.output("policy_adapter") / "adapter_model.safetensors")
    assert start.keys() == end.keys()
    assert any(not torch.equal(start[name], end[name]) for name in start)
    assert abs(context.series[1][1]["kl_k1_nats"]) < 1e-4, "before its first update the policy is the reference"
    assert context.measurements["kl_k3_nats"].value > 0


def test_a_killed_run_goes_on_as_if_it_had_never_stopped(inputs, tmp_path, monkeypatch):
    whole = _context(inputs, tmp_path / "whole", checkpoint_every=1)
    step.run(whole)
    killed = _context(inputs, tmp_path / "killed", checkpoint_every=1)
    appraise = update.appraise

    def die_in_the_third_update(*given, **named):
        if len([at for at, values in killed.series if "reward" in values]) == 2:
            raise KeyboardInterrupt
        return appraise(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(update, "appraise", die_in_the_third_update)
        step.run(killed)
    resumed = _context(inputs, tmp_path / "killed", checkpoint_every=1)
    step.run(resumed)

    assert (tmp_path / "killed" / "checkpoints" / checkpoints.FILE).is_file()
    assert _adapter(resumed) == _adapter(whole)
    assert resumed.series == whole.series
    assert resumed.measurements == whole.measurements


def test_the_policy_that_the_held_out_judge_likes_most_is_published(inputs, tmp_path):
    """The judge hates what training does: its head is the reward model's, turned round. So the start is the best."""
    turned = _turned(inputs, tmp_path)
    settings = {"updates": 6, "rollouts": 64, "minibatch": 32, "learning_rate": 0.02, "kl_coef": 0.0, "probe_every": 2}
    settings |= {"probe_distance": 1000.0, "on_alarm": "warn"}
    context = _context(turned, tmp_path, selection="judge", **settings)

    step.run(context)

    start = models.load_tensors(inputs["sft_adapter"] / "adapter_model.safetensors")
    end = models.load_tensors(context.output("policy_adapter") / "adapter_model.safetensors")
    seen = context.facts["monitor"]
    assert [probe["update"] for probe in seen["probes"]] == [0, 2, 4, 6]
    assert seen["chosen_update"] == max(seen["probes"], key=lambda probe: probe["judge"])["update"] == 0
    assert all(torch.equal(start[name], end[name]) for name in start)
    assert seen["probes"][-1]["proxy"] > seen["probes"][0]["proxy"]


def test_the_monitor_sees_how_unsure_an_ensemble_is(inputs, tmp_path):
    """Two heads that differ by a constant of 3 in raw score: a deviation of 1.5, over the card's 2.0 is 0.75 everywhere."""
    folder = tmp_path / "reward_adapter"
    shutil.copytree(inputs["reward_adapter"], folder)
    one = rewardmodel.ScoreHead.load(folder / rewardmodel.HEAD)
    head = rewardmodel.ScoreHead(16, members=2)
    with torch.no_grad():
        head.weight.copy_(torch.stack([one.weight, one.weight]))
        head.likelihood_weight.copy_(torch.stack([one.likelihood_weight, one.likelihood_weight]))
        head.bias.copy_(torch.tensor([0.0, 3.0]))
    head.save(folder / rewardmodel.HEAD)
    context = _context(inputs | {"reward_adapter": folder}, tmp_path, updates=1)

    step.run(context)

    assert [probe["doubt"] for probe in context.facts["monitor"]["probes"]] == pytest.approx([0.75, 0.75], abs=1e-4)


def test_a_probe_records_gold_utility_where_the_truth_is_known_and_only_there(inputs, tmp_path):
    """Answers of a random model are right about nothing."""
    truth = {"task": "answer", "subject": "sky", "answer": "blue", "others": ["red"], "says": "the sky is {v}", "claim": None}
    table = [_prompt(row, text, truth=truth) for row, text in enumerate(["Is the sky blue?", "Is it?"])]
    records.write(tmp_path / "known" / "prompts.jsonl", table)
    known = _context(inputs | {"prompts": tmp_path / "known"}, tmp_path / "one", updates=1, judged_prompts=2)
    unknown = _context(inputs, tmp_path / "two", updates=1)

    step.run(known)
    step.run(unknown)

    probes = known.facts["monitor"]["probes"]
    assert all(-1.0 <= probe["gold"] <= -0.4 for probe in probes)
    assert all(0.0 <= probe[name] <= 1.0 for probe in probes for name in ("hedging", "misled", "refusals"))
    assert [probe for probe in unknown.facts["monitor"]["probes"] if {"gold", "doubt"} & probe.keys()] == []
    assert [at for at, values in known.series if "gold" in values] == [0, 1]


def test_an_alarm_stops_the_run(inputs, tmp_path):
    """The same judge; any drift of more than 0.05 standard deviations between the two ends training."""
    settings = {"updates": 6, "rollouts": 64, "minibatch": 32, "learning_rate": 0.02, "kl_coef": 0.0, "probe_every": 2}
    context = _context(_turned(inputs, tmp_path), tmp_path, disagreement_rise=0.05, **settings)

    step.run(context)

    seen = context.facts["monitor"]
    assert seen["stopped"]
    assert len(seen["alarms"]) == 1
    assert max(at for at, values in context.series if "reward" in values) == seen["alarms"][0]["update"] < 6


def test_a_policy_that_runs_away_is_probed_out_of_turn(inputs, tmp_path):
    """Probes every second update, and one wherever the root of the KL has moved by 0.05 since the last."""
    settings = {"updates": 6, "rollouts": 64, "minibatch": 32, "learning_rate": 0.02, "kl_coef": 0.0, "on_alarm": "warn"}
    near = _context(inputs, tmp_path / "near", probe_every=2, probe_distance=0.05, **settings)
    far = _context(inputs, tmp_path / "far", probe_every=2, probe_distance=1000.0, **settings)

    step.run(near)
    step.run(far)

    seen = near.facts["monitor"]["probes"]
    assert [probe["update"] for probe in far.facts["monitor"]["probes"]] == [0, 2, 4, 6]
    assert len(seen) > 4
    assert [probe["update"] for probe in seen] == sorted({probe["update"] for probe in seen}), "nothing is probed twice"
    assert _adapter(near) == _adapter(far), "a probe changes nothing"


def test_an_alarm_raises_the_price_of_kl(inputs, tmp_path):
    """Alarms at two of the probes double the coefficient twice; it starts at 0.3."""
    settings = {"updates": 4, "probe_every": 2, "on_alarm": "raise_kl", "disagreement_rise": 0.0, "learning_rate": 0.02}
    context = _context(_turned(inputs, tmp_path), tmp_path, kl_coef=0.3, **settings)

    step.run(context)

    alarms = context.facts["monitor"]["alarms"]
    assert context.facts["monitor"]["kl_coef_at_end"] == pytest.approx(0.3 * 2 ** len(alarms))
    assert alarms


def _turned(inputs, folder):
    """A judge that is the reward model with the opposite opinion."""
    judge = folder / "judge_adapter"
    shutil.copytree(inputs["reward_adapter"], judge)
    head = rewardmodel.ScoreHead.load(judge / rewardmodel.HEAD)
    with torch.no_grad():
        for parameter in (head.weight, head.likelihood_weight, head.bias):
            parameter.neg_()
    head.save(judge / rewardmodel.HEAD)
    return inputs | {"judge_adapter": judge}


@pytest.mark.parametrize("value_adapter", [False, True])
def test_gradient_equals_finite_differences(inputs, value_adapter):
    """The whole loss along a random direction against (L(θ + h) - L(θ - h)) / 2h. Llama's norms round to float32."""
    settings = Settings(**(SMALL | {"entropy_coef": 0.03, "temperature": 0.7, "value_adapter": value_adapter}))
    actors = acting.load(inputs, base_digest="", settings=settings)
    actors.model.double()
    actors.value_head.double()
    torch.nn.init.normal_(actors.value_head.outer.weight)
    for name, value in actors.value_parameters().items():
        torch.nn.init.normal_(value, std=0.3 if "lora_B" in name else 0.1)
    with actors.acting(acting.POLICY) as model:
        uniforms = torch.rand((3, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        answers = rollout.sample(model, [[5, 9], [7, 8, 6], [4]], uniforms=uniforms, temperature=0.7, eos=1, pad=0)
    old = answers.logprobs.double() + 0.05 * torch.randn(answers.logprobs.shape, dtype=torch.float64)
    answers = rollout.Rollout(**(vars(answers) | {"logprobs": old}))
    states = torch.randn((*old.shape, 17), dtype=torch.float64)
    parts = torch.randn((3, *old.shape), dtype=torch.float64)
    experience = update.Experience(answers, states, *parts, {})
    rows = torch.arange(3)

    def loss():
        return update._loss(actors, experience, rows, settings)[0]

    with actors.acting(acting.POLICY):
        parameters = list(actors.trainable().values())
        gradients = torch.autograd.grad(loss(), parameters)
        directions = [torch.randn_like(parameter) for parameter in parameters]
        slope = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
        ends = []
        for h in (1e-4, -1e-4):
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(direction, alpha=h)
                ends.append(loss().item())
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.sub_(direction, alpha=h)

    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)


def test_a_reward_model_of_another_base_is_refused(inputs, tmp_path):
    with pytest.raises(ModelRefused) as refusal:
        step.run(_context(inputs, tmp_path, digest="sha256:other"))

    assert str(refusal.value) == (
        "The reward model was trained on the base model sha256:b, this run has sha256:other. "
        "Run `reward` again on this base model; scores of another one mean nothing here."
    )


def test_a_reward_model_of_another_tokenizer_is_refused(inputs, tmp_path):
    other = _copy_card(inputs, tmp_path, tokenizer_digest="sha256:t")

    with pytest.raises(ModelRefused, match="trained on the tokenizer sha256:t"):
        step.run(_context(other, tmp_path))


def test_a_tokenizer_without_an_end_token_is_refused(inputs, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(inputs["base_model"], base)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (base / "tokenizer_config.json").write_text(json.dumps(settings))

    with pytest.raises(ModelRefused, match="no end-of-sequence token"):
        step.run(_context(inputs | {"base_model": base}, tmp_path))


def test_more_processes_than_answers_are_refused(inputs, tmp_path):
    context = dataclasses.replace(_context(inputs, tmp_path, rollouts=2), ranks=3)

    with pytest.raises(ConfigRefused, match=r"ppo.rollouts is 2, and 3 processes share .* Raise it to 3 at least"):
        step.run(context)


@pytest.mark.parametrize(("settings", "why"), [({"kl_target": 6.0}, "steers"), ({"on_alarm": "raise_kl"}, "multiplies")])
def test_a_kl_coefficient_of_0_that_is_to_change_is_refused(settings, why):
    with pytest.raises(ValidationError, match=f"kl_coef is 0, which stays 0 although .* {why} it"):
        Settings(kl_coef=0.0, **settings)


def test_no_training_prompts_are_refused(inputs, tmp_path):
    records.write(inputs["prompts"] / "prompts.jsonl", [_prompt(1, "Is it?", split="evaluation")])

    with pytest.raises(DataRefused, match=r"has 0 prompts of split `train`.*at least one is needed"):
        step.run(_context(inputs, tmp_path))


def test_prompts_without_room_for_an_answer_are_refused_or_left_out_as_told(inputs, tmp_path):
    long = _prompt(9, "Is the sky blue? " * 20)
    records.write(inputs["prompts"] / "prompts.jsonl", [_prompt(1, "Is it?"), long])

    with pytest.raises(DataRefused, match=r"2 prompts of split `train`, 1 of them with at most 56 tokens"):
        step.run(_context(inputs, tmp_path / "one"))
    context = _context(inputs, tmp_path / "two", long_prompts="leave_out", updates=1)
    step.run(context)

    assert context.gaps["long_prompts"] == "1 of 2 prompts were left out as too long"


def test_scores_that_are_not_finite_are_refused(inputs, tmp_path):
    broken = _copy_card(inputs, tmp_path)
    head = rewardmodel.ScoreHead(16)
    torch.nn.init.constant_(head.bias, float("nan"))
    head.save(broken["reward_adapter"] / rewardmodel.HEAD)

    with pytest.raises(ModelRefused, match="not a finite number"):
        step.run(_context(broken, tmp_path))


def _copy_card(inputs, folder, **changes):
    copy = folder / "reward_adapter"
    shutil.copytree(inputs["reward_adapter"], copy)
    card = json.loads((copy / rewardmodel.CARD).read_text()) | changes
    (copy / rewardmodel.CARD).write_text(json.dumps(card))
    return inputs | {"reward_adapter": copy}
