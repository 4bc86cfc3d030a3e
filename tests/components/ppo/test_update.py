"""One update: gradients add up exactly, processes share the work, and what can't work is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import pytest
import torch
from torch import distributed
from transformers import AutoModelForCausalLM, Gemma3Config

from components import models, records
from components.catalog import STEPS
from components.context import Context
from components.errors import ConfigRefused, ModelRefused
from components.ppo import actors as acting
from components.ppo import rollout, step, update
from components.ppo.config import Settings
from components.ppo.rewards import steered

SMALL = {"updates": 3, "rollouts": 6, "minibatch": 4, "max_new_tokens": 8, "value_hidden": 8, "judged_prompts": 5}
UNEVEN = [[5, 9], [7, 8, 6], [4], [11, 12, 13, 14], [21, 6]]


def _experience(inputs, settings):
    """Answers of the policy, cut to 8, 3, 1, 5 and 2 tokens."""
    actors = acting.load(inputs, base_digest="", settings=settings)
    with actors.acting(acting.POLICY) as model:
        uniforms = torch.rand((5, 8), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        answers = rollout.sample(model, UNEVEN, uniforms=uniforms, temperature=1.0, eos=1, pad=0)
    tokens = answers.responses.shape[1]
    kept = answers.is_response & (torch.arange(tokens) < torch.tensor([8, 3, 1, 5, 2])[:, None])
    cut = {"is_response": kept} | {name: getattr(answers, name) * kept for name in ("responses", "logprobs", "entropies")}
    answers = rollout.Rollout(**(vars(answers) | cut))
    return actors, update.appraise(actors, answers, settings, kl_coef=0.1)


@pytest.mark.parametrize("value_adapter", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_gradients_of_passes_add_up_to_that_of_the_minibatch(tiny_models, micro_batch, value_adapter):
    """Answers have different lengths, so a mean of the passes' means would differ."""
    whole = Settings(**SMALL, value_adapter=value_adapter)
    actors, experience = _experience(tiny_models, whole)
    assert len(set(experience.rollout.is_response.sum(dim=1).tolist())) > 3
    found = []
    for settings in (whole, whole.model_copy(update={"micro_batch": micro_batch})):
        with actors.acting(acting.POLICY):
            metrics = update._accumulate(actors, experience, torch.arange(5), settings)
        found.append((metrics, [value.grad.clone() for value in actors.trainable().values()]))
        for value in actors.trainable().values():
            value.grad = None

    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4, abs=1e-6)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_states_that_are_kept_change_no_gradient(tiny_models, micro_batch):
    """One of two layers trains: what the other makes of prompts and answers is computed once, in one pass or in several."""
    settings = Settings(**SMALL, micro_batch=micro_batch)
    actors, experience = _experience(tiny_models, settings)
    assert actors.lowest == 1
    found = []
    for each in (experience, dataclasses.replace(experience, entering=None)):
        with actors.acting(acting.POLICY):
            update._accumulate(actors, each, torch.arange(5), settings)
        found.append([value.grad.clone() for value in actors.trainable().values()])
        for value in actors.trainable().values():
            value.grad = None

    assert experience.entering is not None
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("upper_share", "trained"), [(0.5, {1}), (0.51, {0, 1}), (0.1, {1})])
def test_layers_that_do_not_train_stay_those_of_the_sft_policy(tiny_models, prompts, tmp_path, upper_share, trained):
    """Of two layers, numbers rounded up."""
    context = _context(tiny_models | {"prompts": prompts}, tmp_path, upper_share=upper_share, selection="last")

    step.run(context)

    before = models.load_tensors(tiny_models["sft_adapter"] / "adapter_model.safetensors")
    after = models.load_tensors(context.output("policy_adapter") / "adapter_model.safetensors")
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {int(name.partition(".layers.")[2].partition(".")[0]) for name in moved} == trained
    assert context.measurements["trained_parameters"].value < sum(value.numel() for value in after.values()) + 200


def test_a_value_function_with_an_adapter_of_its_own_leaves_the_reward_model_alone(tiny_models):
    """It starts as the reward model, so the first values are those of the head alone; then it learns, and the others stay."""
    settings = Settings(**SMALL, value_adapter=True, epochs=3)
    actors, experience = _experience(tiny_models, settings)
    _, plain = _experience(tiny_models, Settings(**SMALL))

    def weights(adapter):
        return {name: value.detach().clone() for name, value in actors.model.named_parameters() if f".{adapter}." in name}

    before = {adapter: weights(adapter) for adapter in (acting.REWARD, acting.JUDGE, acting.REFERENCE, acting.VALUE)}
    update.improve(actors, experience, settings, optimizer=update.optimizer_of(actors, settings), seed=1)

    torch.testing.assert_close(experience.states, plain.states)
    for adapter in (acting.REWARD, acting.JUDGE, acting.REFERENCE):
        for name, value in weights(adapter).items():
            assert torch.equal(value, before[adapter][name]), name
    moved = [name for name, value in weights(acting.VALUE).items() if not torch.equal(value, before[acting.VALUE][name])]
    assert len(moved) == len(before[acting.VALUE])
    assert set(actors.value_parameters()) < set(actors.trainable())


def test_a_batch_of_equal_rewards_moves_nothing_but_the_value_head(tiny_models, monkeypatch):
    """Every answer is worth 2, with no KL and no penalty: once the values are 2, no token is better than another."""
    judged = acting.judged

    def equal(*given, **named):
        scores, states = judged(*given, **named)
        return torch.full_like(scores, 2.0), states

    monkeypatch.setattr(acting, "judged", equal)
    settings = Settings(**SMALL, eos_penalty=0.0, gae_lambda=1.0)

    actors, experience = _experience(tiny_models, settings)

    card = actors.reward.card
    assert experience.advantages.isfinite().all()
    assert experience.advantages.abs().max() < 0.01, "the value head starts at 0, so every token's advantage is the same"
    assert experience.metrics["reward"] == pytest.approx((2.0 - card.mean) / card.std)


def test_the_kl_coefficient_is_steered_to_its_target():
    """β 0.5, 64 of 320 answers: KL 10 % too high, 0.5 (1 + 0.1 / 5); far too high or low, a fifth of a fifth."""
    assert steered(0.5, 3.3, target=3.0, answers=64, horizon=320) == pytest.approx(0.51)
    assert steered(0.5, 30.0, target=3.0, answers=64, horizon=320) == pytest.approx(0.52)
    assert steered(0.5, 0.1, target=3.0, answers=64, horizon=320) == pytest.approx(0.48)
    assert steered(0.5, 30.0, target=0.0, answers=64, horizon=320) == 0.5
    assert steered(0.5, 0.0, target=3.0, answers=6400, horizon=320) == pytest.approx(0.4), "never negative"


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_answers_are_scored_in_parts_as_they_are_together(tiny_models, micro_batch):
    together, parts = (_experience(tiny_models, Settings(**SMALL, micro_batch=size))[1] for size in (0, micro_batch))

    assert parts.metrics == pytest.approx(together.metrics, rel=1e-4, abs=1e-5)
    is_response = together.rollout.is_response
    for name in ("values", "returns", "advantages"):
        torch.testing.assert_close(getattr(parts, name), getattr(together, name), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.states[is_response], together.states[is_response], atol=1e-4, rtol=1e-4)


@pytest.fixture
def prompts(tmp_path):
    table = [
        records.Prompt(id=f"p{row}", kind="fact", split="train", messages=[records.Message(role="user", content=text)])
        for row, text in enumerate(["Is the sky blue?", "Is it red?", "No, is the sky red?", "Is it?", "Yes?"])
    ]
    records.write(tmp_path / "prompts" / "prompts.jsonl", table)
    return tmp_path / "prompts"


def _context(inputs, folder, *, rank=0, ranks=1, **settings):
    return Context(
        step=STEPS["ppo"],
        config=Settings(**(SMALL | settings)),
        seed=5,
        inputs=inputs,
        scratch=folder / f"scratch-{rank}",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": "sha256:b"},
        rank=rank,
        ranks=ranks,
    )


def _work(inputs, folder, settings, rank, port):
    """One of two processes."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    context = _context(inputs, folder, rank=rank, ranks=2, **settings)
    step.run(context)
    (folder / f"series-{rank}.json").write_text(json.dumps(context.series))


@pytest.mark.parametrize(
    "settings",
    [{}, {"value_adapter": True, "sample_batch": 2}, {"sharding": "full"}, {"sharding": "full", "micro_batch": 1}],
)
def test_two_processes_take_the_steps_of_one(tiny_models, prompts, tmp_path, two_processes, settings):
    """Where the base is split, a process whose answers have ended goes on, and one with fewer passes makes empty ones."""
    inputs = tiny_models | {"prompts": prompts}
    alone = _context(inputs, tmp_path / "alone", **{name: settings[name] for name in settings if name == "value_adapter"})
    step.run(alone)
    codes = two_processes(_work, inputs, tmp_path, settings)

    assert codes == [0, 0]
    for rank in (0, 1):
        series = json.loads((tmp_path / f"series-{rank}.json").read_text())
        assert len(series) == len(alone.series)
        for (at, found), (when, expected) in zip(series, alone.series, strict=True):
            assert at == when
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


FITS = "Set ppo.micro_batch to {}, which was tried and fits; the gradient stays the same."
NONE_FITS = "Not even one fits: lower ppo.max_new_tokens, or give shorter prompts or a smaller base model."


def _short_of_memory(monkeypatch, tokens):
    """Passes over more tokens of prompts and answers than there is room for fail as PyTorch's CPU allocator does."""

    def short(whole):
        def read(model, answers, **named):
            if int(answers.is_prompt.sum() + answers.is_response.sum()) > tokens:
                torch.empty(1 << 60, dtype=torch.uint8)
            return whole(model, answers, **named)

        return read

    for name in ("response_logits", "response_logits_and_states"):
        monkeypatch.setattr(acting, name, short(getattr(acting, name)))


@pytest.mark.parametrize(("tokens", "remedy"), [(19, FITS.format(2)), (15, FITS.format(1)), (3, NONE_FITS)])
def test_too_little_memory_to_learn_is_refused_with_the_size_that_fits_the_longest(tiny_models, monkeypatch, tokens, remedy):
    """Answers with prompts have 10, 6, 2, 9 and 4 tokens; the second pass has all but one of them."""
    settings = Settings(**SMALL)
    actors, experience = _experience(tiny_models, settings)
    _short_of_memory(monkeypatch, tokens)

    with pytest.raises(ConfigRefused) as refusal:
        update.improve(actors, experience, settings, optimizer=update.optimizer_of(actors, settings), seed=1)

    assert str(refusal.value).endswith(f"with their prompts does not fit into memory. {remedy}")


@pytest.mark.parametrize(("tokens", "remedy"), [(20, FITS.format(2)), (3, NONE_FITS)])
def test_too_little_memory_to_score_is_refused_with_the_size_that_fits(tiny_models, monkeypatch, tokens, remedy):
    settings = Settings(**SMALL)
    actors, experience = _experience(tiny_models, settings)
    _short_of_memory(monkeypatch, tokens)

    with pytest.raises(ConfigRefused) as refusal:
        update.appraise(actors, experience.rollout, settings, kl_coef=0.1)

    assert (
        str(refusal.value) == f"A pass over 5 answers of up to 10 tokens with their prompts does not fit into memory. {remedy}"
    )


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_answers_sampled_in_parts_are_those_sampled_together(tiny_models, prompts, tmp_path, at_once):
    inputs = tiny_models | {"prompts": prompts}
    found = []
    for size in (0, at_once):
        context = _context(inputs, tmp_path, sample_batch=size)
        actors = acting.load(inputs, base_digest="", settings=context.config)
        asked = step._prompts(context, actors)
        found.append(step._answers(context, actors, asked, adapter=acting.POLICY, purpose="sample 0"))

    whole, parts = found
    for name in ("prompts", "is_prompt", "responses", "is_response", "has_eos"):
        assert torch.equal(getattr(parts, name), getattr(whole, name)), name
    for name in ("logprobs", "entropies"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("room", "remedy"),
    [
        (2, "Set ppo.sample_batch to 2, which was tried and fits; the answers stay the same."),
        (0, "Not even one fits: lower ppo.max_new_tokens, or give shorter prompts or a smaller base model."),
    ],
)
def test_too_little_memory_to_sample_is_refused_with_the_size_that_fits(
    tiny_models, prompts, tmp_path, monkeypatch, room, remedy
):
    whole = rollout.sample

    def short(model, asked, **named):
        if len(asked) > room:
            torch.empty(1 << 60, dtype=torch.uint8)
        return whole(model, asked, **named)

    monkeypatch.setattr(rollout, "sample", short)
    context = _context(tiny_models | {"prompts": prompts}, tmp_path)

    with pytest.raises(ConfigRefused) as refusal:
        step.run(context)

    said = str(refusal.value)
    assert said.startswith("A pass over 5 prompts and answers of up to ")
    assert said.endswith(f" tokens does not fit into memory. {remedy}")


def test_a_tokenizer_that_says_more_than_the_model_knows_is_refused(tiny_models, tmp_path):
    inputs = {name: shutil.copytree(path, tmp_path / name) for name, path in tiny_models.items()}
    for card in tmp_path.glob("*/reward.json"):
        card.write_text(json.dumps(json.loads(card.read_text()) | {"tokenizer_digest": ""}))
    known = json.loads((inputs["base_model"] / "config.json").read_text())["vocab_size"]
    tokenizer = models.load_tokenizer(inputs["base_model"])
    tokenizer.add_tokens([f"new{index}" for index in range(known)])
    tokenizer.save_pretrained(inputs["base_model"])

    with pytest.raises(ModelRefused, match=rf"the base model embeddings up to id {known - 1}\. "):
        acting.load(inputs, base_digest="", settings=Settings(**SMALL))


def test_one_prompt_repeated_is_answered_and_learnt_from(tiny_models, prompts, tmp_path):
    first = next(iter(records.read(prompts / "prompts.jsonl", records.Prompt)))
    same = [first.model_copy(update={"id": f"q{row}"}) for row in range(5)]
    records.write(prompts / "prompts.jsonl", same)
    context = _context(tiny_models | {"prompts": prompts}, tmp_path, updates=1)

    step.run(context)

    assert context.measurements["prompts"].value == 5
    assert math.isfinite(context.measurements["kl_nats"].value)


@pytest.fixture
def multimodal(tiny_models, tmp_path):
    """The same adapters' names on Gemma 3 with vision, whose settings of the language model are one level down."""
    tokenizer = models.load_tokenizer(tiny_models["base_model"])
    text = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 4, "intermediate_size": 24, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 64, "layer_types": ["full_attention"] * 4}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8}
    config = Gemma3Config(
        text_config=text | {"sliding_window": None, "pad_token_id": 0},
        vision_config=vision | {"patch_size": 4},
        mm_tokens_per_image=1,
        image_token_id=299,
    )
    torch.manual_seed(4)
    folders = {name: tmp_path / "multimodal" / name for name in tiny_models}
    AutoModelForCausalLM.from_config(config).save_pretrained(folders["base_model"])
    tokenizer.save_pretrained(folders["base_model"])
    for name in ("sft_adapter", "reward_adapter", "judge_adapter"):
        adapted = models.new_adapter(
            models.load_base(folders["base_model"], as_type=torch.float32), name="any", rank=2, alpha=4.0
        )
        models.save_adapter(adapted, folders[name], name="any")
    for name in ("reward_adapter", "judge_adapter"):
        for file in ("reward.json", "head.safetensors"):
            shutil.copy(tiny_models[name] / file, folders[name] / file)
    return folders


def test_the_language_model_within_a_multimodal_one_is_trained(multimodal, prompts, tmp_path):
    context = _context(multimodal | {"prompts": prompts}, tmp_path, selection="last")

    step.run(context)

    after = models.load_tensors(context.output("policy_adapter") / "adapter_model.safetensors")
    before = models.load_tensors(multimodal["sft_adapter"] / "adapter_model.safetensors")
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert all(".language_model.layers.2." in name or ".language_model.layers.3." in name for name in moved)
