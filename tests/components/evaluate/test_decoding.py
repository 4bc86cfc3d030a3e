"""Answers and likelihoods on an untrained model with two layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from components import models
from components.errors import ModelRefused
from components.evaluate import decoding
from components.evaluate.panel import Asker, Decoding, Panel

if TYPE_CHECKING:
    from pathlib import Path

HOW = Decoding(seed=3, temperature=1.0, answer_tokens=7, draws=2, batch_size=4)
WORDS = ("Is the sky blue?", "Is it red?", "Yes, the sky is red. Is the sky blue? No.", "No?")


def _dialogues() -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": words}] for words in WORDS]


@pytest.fixture
def panel(tiny_models: dict[str, Path]) -> Panel:
    return Panel.load(
        tiny_models["base_model"], {"sft": tiny_models["sft_adapter"], "candidate": tiny_models["reward_adapter"]}
    )


def test_greedy_answers_are_those_of_transformers(panel: Panel, tiny_models: dict[str, Path]) -> None:
    base, tokenizer = models.load_base(tiny_models["base_model"]), models.load_tokenizer(tiny_models["base_model"])
    greedy = Decoding(seed=3, temperature=0.0, answer_tokens=7, draws=1, batch_size=4)

    mine = [said[0] for said in Asker(panel, "base", greedy).answers(_dialogues())]

    theirs = models.generate(base, tokenizer, _dialogues(), max_new_tokens=7, temperature=0.0, seed=3, batch_size=1)
    assert mine == theirs


def test_an_answer_does_not_depend_on_what_else_is_asked(panel: Panel) -> None:
    together = Asker(panel, "sft", HOW).answers(_dialogues())

    alone = [Asker(panel, "sft", HOW).answers([dialogue])[0] for dialogue in reversed(_dialogues())][::-1]

    assert together == alone
    assert any(first != second for first, second in together), "two answers to a prompt have noise of their own"


def test_prompts_of_one_noise_are_answered_alike_by_a_model_that_finds_them_alike(panel: Panel) -> None:
    """Here a model that cares for no prompt at all: every token is as likely as the other."""
    for parameter in panel.model.parameters():
        parameter.data.zero_()

    shared = Asker(panel, "base", HOW).answers(_dialogues(), noises=["one"] * len(WORDS))
    own = Asker(panel, "base", HOW).answers(_dialogues())

    assert len({tuple(said) for said in shared}) == 1
    assert len({tuple(said) for said in own}) == len(WORDS)


def test_equal_models_say_the_same_and_adapters_switch_in_place(tiny_models: dict[str, Path]) -> None:
    twice = {
        "sft": tiny_models["sft_adapter"],
        "candidate": tiny_models["sft_adapter"],
        "champion": tiny_models["reward_adapter"],
    }
    panel = Panel.load(tiny_models["base_model"], twice)
    bare = Panel.load(tiny_models["base_model"], {})

    said = {name: Asker(panel, name, HOW).answers(_dialogues()) for name in ("champion", "sft", "base", "candidate")}

    assert said["sft"] == said["candidate"]
    assert said["base"] == Asker(bare, "base", HOW).answers(_dialogues())
    assert said["champion"] != said["sft"] != said["base"]


def test_noise_is_gumbel_and_a_function_of_its_place() -> None:
    """Mean 0.5772 (Euler's constant), variance π²/6 = 1.6449; 40 000 draws."""
    starts = torch.tensor([5, -(2**62) - 1], dtype=torch.int64)

    found = decoding.gumbel(starts, 3, 20_000)

    assert found.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert found.var().item() == pytest.approx(1.6449, abs=0.05)
    assert torch.equal(found[1:], decoding.gumbel(starts[1:], 3, 20_000))
    assert not torch.equal(found, decoding.gumbel(starts, 4, 20_000))


def test_sampling_follows_the_probabilities() -> None:
    """Probabilities 0.6, 0.3 and 0.1 over 20 000 noises: within three standard errors of about 0.0035."""
    logits = torch.tensor([0.6, 0.3, 0.1]).log().expand(20_000, 3)
    starts = torch.tensor([decoding.noise_seed(1, "words", draw) for draw in range(20_000)], dtype=torch.int64)

    drawn = decoding._draw(logits, starts, 0, 1.0)

    shares = torch.bincount(drawn, minlength=3) / 20_000
    assert shares.tolist() == pytest.approx([0.6, 0.3, 0.1], abs=0.0105)


def test_a_likelihood_does_not_depend_on_the_batch_and_adds_up(panel: Panel) -> None:
    """log p(a b | prompt) = log p(a | prompt) + log p(b | prompt a), whatever else is measured."""
    panel.speak_as("sft")

    whole, first, second = decoding.likelihoods(panel.model, [[5, 9], [5, 9], [5, 9, 12]], [[12, 30], [12], [30]], pad=0)

    assert whole == pytest.approx(first + second, rel=1e-4)
    [alone] = decoding.likelihoods(panel.model, [[5, 9]], [[12, 30]], pad=0)
    assert whole == pytest.approx(alone, rel=1e-5)


def test_a_given_beginning_is_part_of_the_answer(panel: Panel) -> None:
    [said] = Asker(panel, "sft", HOW).answers(_dialogues()[:1], prefixes=["Yes, the"])

    assert all(answer.startswith("Yes, the") for answer in said)


def test_an_infinite_logit_is_refused() -> None:
    """A log-probability of it would be NaN, and a comparison with NaN is false."""
    logits = torch.zeros(2, 5)
    logits[1, 3] = float("inf")
    with pytest.raises(ModelRefused, match="logits that are not numbers"):
        decoding.finite(logits)


def test_a_logit_that_is_not_a_number_is_refused(panel: Panel) -> None:
    with torch.no_grad():
        panel.model.get_input_embeddings().weight[:] = float("nan")

    with pytest.raises(ModelRefused, match="logits that are not numbers"):
        Asker(panel, "sft", HOW).answers(_dialogues())


def test_what_was_said_is_not_asked_again(panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Asker(panel, "sft", HOW, tmp_path / "said.json")
    said, nats = first.answers(_dialogues()), first.likelihoods(_dialogues(), ["Yes."] * 4)
    first.save()
    flop = panel.flop["sft"]

    def never(*_: Any, **__: Any) -> None:
        pytest.fail("asked again")

    monkeypatch.setattr(decoding, "decode", never)
    monkeypatch.setattr(decoding, "likelihoods", never)
    again = Asker(panel, "sft", HOW, tmp_path / "said.json")

    assert again.answers(_dialogues()) == said
    assert again.likelihoods(_dialogues(), ["Yes."] * 4) == nats
    assert panel.flop["sft"] == flop > 0


def test_an_adapter_of_another_base_is_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    other = tmp_path / "adapter"
    shutil.copytree(tiny_models["sft_adapter"], other)
    weights = {name: torch.zeros(5, 9) for name in load_file(other / "adapter_model.safetensors")}
    save_file(weights, other / "adapter_model.safetensors")

    with pytest.raises(ModelRefused, match="The adapter of champion does not fit the base model"):
        Panel.load(tiny_models["base_model"], {"sft": tiny_models["sft_adapter"], "champion": other})
