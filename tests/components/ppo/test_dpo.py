"""DPO in PPO's place, on a model with two layers: it learns from the pairs, and leaves the same shape behind."""

from __future__ import annotations

import json
import math

import pytest
import torch

from components import models, records, rewardmodel, sequences, trainer
from components.alignment import Settings as Alignment
from components.catalog import STEPS
from components.context import Context
from components.errors import DataRefused, ModelRefused
from components.ppo import dpo, step
from components.ppo.config import Settings

GOOD, BAD = "Yes, the sky is blue.", "No, it is red."
SMALL = {"max_new_tokens": 8, "value_hidden": 8, "judged_prompts": 5, "selection": "last"}


@pytest.fixture
def inputs(tiny_models, tmp_path):
    tables = {name: tmp_path / name for name in ("prompts", "comparisons", "golden", "label_weights")}
    prompts = [_prompt(row, "train" if row < 8 else "held_out") for row in range(10)]
    labels = [_label(row, (GOOD, BAD) if row % 2 else (BAD, GOOD), who) for row in range(10) for who in "ab"]
    records.write(tables["prompts"] / "prompts.jsonl", prompts)
    records.write(tables["comparisons"] / "comparisons.jsonl", labels)
    golden = [records.GoldenPair(id="g3", prompt_id="p3", responses=(GOOD, BAD), better="first")]
    records.write(tables["golden"] / "golden.jsonl", golden)
    tables["label_weights"].mkdir()
    lines = [json.dumps({"comparison": label.id, "weight": 0.5}) + "\n" for label in labels]
    (tables["label_weights"] / "weights.jsonl").write_text("".join(lines))
    return tables | tiny_models


def _prompt(row, split):
    messages = [records.Message(role="user", content=f"Is the sky blue? {'Yes? ' * (row % 3)}")]
    return records.Prompt(id=f"p{row}", kind="fact", split=split, messages=messages)


def _label(row, responses, who):
    label = "first" if responses[0] == GOOD else "second"
    return records.Comparison(id=f"c{row}-{who}", prompt_id=f"p{row}", responses=responses, label=label, annotator=who)


def _context(inputs, folder, *, digest="sha256:b", **alignment):
    settings = {"method": "dpo", "dpo_epochs": 6, "dpo_batch_pairs": 4, "dpo_learning_rate": 0.02}
    return Context(
        step=STEPS["ppo"],
        config=Settings(**SMALL),
        seed=5,
        inputs=inputs,
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": digest},
        sections={"alignment": Alignment(**(settings | alignment))},
    )


def _logprob(inputs, adapter, answer):
    tokenizer = models.load_tokenizer(inputs["base_model"])
    model = models.load_adapter(models.load_base(inputs["base_model"]), adapter, name="any")
    said = rewardmodel.encode_answer(tokenizer, [{"role": "user", "content": "Is the sky blue? "}], answer)
    prompts, answers = torch.tensor([said.prompt]), torch.tensor([said.answer])
    logits = sequences.answer_logits(
        model, prompts, torch.ones_like(prompts, dtype=torch.bool), answers, torch.ones_like(answers, dtype=torch.bool)
    )
    return float(sequences.token_logprobs(logits, answers[0]).sum())


def test_the_preferred_answer_becomes_likelier_than_the_other(inputs, tmp_path):
    context = _context(inputs, tmp_path)

    step.run(context)

    policy, start = context.output("policy_adapter"), inputs["sft_adapter"]
    gained = {answer: _logprob(inputs, policy, answer) - _logprob(inputs, start, answer) for answer in (GOOD, BAD)}
    assert gained[GOOD] > gained[BAD] + 1
    losses = [values["dpo_loss"] for _, values in context.series if "dpo_loss" in values]
    assert losses[-1] < losses[0] < 0.75, "it starts at log 2, where policy and reference agree"


def test_it_leaves_what_ppo_leaves(inputs, tmp_path):
    """So that evaluation, documents and deployment need not know which method it was; and says which it was."""
    by_dpo, by_ppo = _context(inputs, tmp_path / "dpo"), _context(inputs, tmp_path / "ppo", method="ppo")
    object.__setattr__(by_ppo, "config", Settings(**(SMALL | {"updates": 1, "rollouts": 4, "minibatch": 4})))

    step.run(by_dpo)
    step.run(by_ppo)

    assert set(by_ppo.measurements) <= set(by_dpo.measurements)
    assert set(by_ppo.facts) == set(by_dpo.facts)
    assert by_dpo.facts["method"] == "direct preference optimization (DPO)"
    assert by_ppo.facts["method"] == "proximal policy optimization (PPO)"
    assert by_dpo.artifact_tags["policy_adapter"] == by_ppo.artifact_tags["policy_adapter"] | {"method": "dpo"}
    assert {path.name for path in by_dpo.output("policy_adapter").iterdir()} == {
        path.name for path in by_ppo.output("policy_adapter").iterdir()
    }
    assert [probe["update"] for probe in by_dpo.facts["monitor"]["probes"]] == [0, 12]
    assert by_dpo.facts["monitor"]["probes"][0]["kl_nats"] == pytest.approx(0, abs=1e-4)
    assert by_dpo.measurements["kl_k3_nats"].value > 0


def test_it_learns_from_the_reward_models_annotators_and_no_golden_pair(inputs, tmp_path):
    """Annotators a and b are one a side; of eight training pairs one is golden."""
    context = _context(inputs, tmp_path, dpo_epochs=1)

    step.run(context)

    assert context.measurements["preference_pairs"].value == 7
    tokenizer = models.load_tokenizer(inputs["base_model"])
    rows = dpo._rows(context, tokenizer, judge_share=0.5, longest=64)
    assert all(tokenizer.decode(row["chosen_ids"]) == f"{GOOD}<|end|>" for row in rows)
    assert all(tokenizer.decode(row["rejected_ids"]) == f"{BAD}<|end|>" for row in rows)


def _told(inputs, folder, *, beta):
    """Loss and margin of every update on one pair each."""
    context = _context(inputs, folder, dpo_beta=beta, dpo_batch_pairs=1, dpo_epochs=1)
    step.run(context)
    return [(values["dpo_loss"], values["dpo_margin"]) for _, values in context.series if "dpo_loss" in values]


def test_its_loss_is_the_papers(inputs, tmp_path, monkeypatch):
    """-log σ(margin). The margin is 0 at first; after a step of Adam, which no scale changes, it is as large as β makes it."""
    every_five = trainer.arguments
    monkeypatch.setattr(trainer, "arguments", lambda *given, **named: every_five(*given, **named) | {"logging_steps": 1})

    one, other = (_told(inputs, tmp_path / str(beta), beta=beta) for beta in (0.1, 0.2))

    assert len(one) == 7
    assert one[0] == pytest.approx((math.log(2), 0.0), abs=1e-4)
    assert [loss for loss, _ in one] == pytest.approx([math.log1p(math.exp(-margin)) for _, margin in one], abs=2e-4)
    assert other[1][1] == pytest.approx(2 * one[1][1], rel=0.02)
    assert one[-1][1] > one[1][1] > 0.01


def test_a_killed_run_goes_on_from_its_checkpoint(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SAVE_EVERY", 2)
    whole, killed = _context(inputs, tmp_path / "whole"), _context(inputs, tmp_path / "killed")
    step.run(whole)
    told = dpo._Telling.on_log

    def die(*given, **named):
        told(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dpo._Telling, "on_log", die)
        step.run(killed)
    resumed = _context(inputs, tmp_path / "killed")
    step.run(resumed)

    first, second = (
        models.load_tensors(each.output("policy_adapter") / "adapter_model.safetensors") for each in (whole, resumed)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_pairs_that_do_not_fit_are_refused(inputs, tmp_path):
    labels = [_label(1, (GOOD * 20, BAD), who) for who in "ab"]
    labels = [label.model_copy(update={"label": "first"}) for label in labels]
    records.write(inputs["comparisons"] / "comparisons.jsonl", labels)

    with pytest.raises(DataRefused) as refusal:
        step.run(_context(inputs, tmp_path))

    assert str(refusal.value) == (
        "comparisons.jsonl has 1 pairs of split `train` that prefer one answer, 0 of them within the context of 64 tokens. "
        "Give labels of at least two annotators, take a base model with a longer context, or set ppo.long_prompts to leave_out."
    )


def test_a_reward_model_of_another_base_is_refused_before_training(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(dpo, "_trainer", lambda *_: pytest.fail("trained"))

    with pytest.raises(ModelRefused, match="was trained on the base model sha256:b, this run has sha256:other"):
        step.run(_context(inputs, tmp_path, digest="sha256:other"))
