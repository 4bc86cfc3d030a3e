from __future__ import annotations

import json
import os
import pickle
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import distributed

from components import models, records, trainer
from components.base import pretrain, tokenizer
from components.base.config import Settings as BaseSettings
from components.catalog import STEPS
from components.context import Context
from components.errors import ConfigRefused, DataRefused
from components.provenance import folder_digest
from components.sft import step
from components.sft.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Trap

TEXTS = [f"<|user|>\nWhat is {n}?<|end|>\n<|assistant|>\nIt is {n}.<|end|>\n" for n in range(40)]


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    torch.manual_seed(0)
    tokens = tokenizer.train(TEXTS, vocabulary=320)
    settings = BaseSettings(hidden=16, heads=2, layers=1, context_tokens=64)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), pad=tokens.pad_token_id, end=tokens.eos_token_id)
    model.save_pretrained(tmp_path / "base")
    tokens.save_pretrained(tmp_path / "base")
    rows = [_demonstration(number) for number in range(24)]
    records.write(tmp_path / "demonstrations" / "demonstrations.jsonl", rows)
    return {"base_model": tmp_path / "base", "demonstrations": tmp_path / "demonstrations"}


def _demonstration(number: int, *, answer: str | None = None) -> records.Demonstration:
    messages = [
        records.Message(role="user", content=f"What is {number}?"),
        records.Message(role="assistant", content=answer or f"It is {number}."),
    ]
    split = "held_out" if number % 6 == 0 else "train"
    return records.Demonstration(id=f"d{number}", prompt_id=f"p{number}", kind="x", split=split, messages=messages, source="me")


def _run(
    inputs: dict[str, Path], folder: Path, *, seed: int = 1, process: tuple[int, int] = (0, 1), **settings: Any
) -> Context[Settings]:
    context = Context(
        step=STEPS["sft"],
        config=Settings(**{"epochs": 4.0, "batch_size": 4, "learning_rate": 0.01, "rank": 4, "context_tokens": 64} | settings),
        seed=seed,
        inputs=inputs,
        scratch=folder / f"scratch-{process[0]}",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": "sha256:base"},
        rank=process[0],
        ranks=process[1],
    )
    context.checkpoints.mkdir(parents=True, exist_ok=True)
    step.run(context)
    return context


def test_it_learns_the_demonstrations_and_names_its_base(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _run(inputs, tmp_path)

    # The base is random and its head frozen, so there is not much to gain; chance alone moves it by a hundredth.
    assert context.measurements["held_out_loss"].value < context.measurements["held_out_loss_before"].value - 0.1
    assert context.artifact_tags["sft_adapter"] == {"base_digest": "sha256:base"}
    assert sorted(path.name for path in context.output("sft_adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_the_same_seed_gives_the_same_adapter_digest(inputs: dict[str, Path], tmp_path: Path) -> None:
    digests = [
        folder_digest(_run(inputs, tmp_path / name, seed=seed).output("sft_adapter"))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]

    assert digests[0] == digests[1] != digests[2]


def test_training_resumes_from_its_checkpoint_to_the_same_adapter(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY", 3)
    whole = _run(inputs, tmp_path / "whole")
    killed = _Killed(step._Telling.on_log)
    with monkeypatch.context() as patch:
        patch.setattr(step._Telling, "on_log", killed)
        with pytest.raises(KeyboardInterrupt):
            _run(inputs, tmp_path / "killed")

    resumed = _run(inputs, tmp_path / "killed")

    assert folder_digest(resumed.output("sft_adapter")) == folder_digest(whole.output("sft_adapter"))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_in_a_checkpoint_is_not_run(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: Trap, name: str
) -> None:
    """transformers reads a checkpoint's states by torch's unpickler of weights alone."""
    monkeypatch.setattr(trainer, "SAVE_EVERY", 3)
    with monkeypatch.context() as patch:
        patch.setattr(step._Telling, "on_log", _Killed(step._Telling.on_log))
        with pytest.raises(KeyboardInterrupt):
            _run(inputs, tmp_path)
    (checkpoint,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    assert (checkpoint / name).is_file()
    trap.lay(checkpoint / name)

    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        _run(inputs, tmp_path)

    assert not trap.was_run


class _Killed:
    """Stops training at the second log line, after a checkpoint."""

    def __init__(self, real: object) -> None:
        self.real, self.calls = real, 0

    def __get__(self, instance: object, owner: type) -> object:
        def on_log(*words: object, **named: object) -> None:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            self.real(instance, *words, **named)

        return on_log


def test_only_what_the_assistant_says_is_learned(inputs: dict[str, Path]) -> None:
    tokens = models.load_tokenizer(inputs["base_model"])
    messages = [{"role": "user", "content": "What is 7?"}, {"role": "assistant", "content": "It is 7."}]

    row = step.tokenise(tokens, messages)

    learned = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != step.IGNORED]
    assert tokens.decode(learned) == "It is 7.<|end|>"
    assert [label for label in row["labels"] if label != step.IGNORED] == learned


def test_a_batch_in_one_row_has_the_loss_and_gradient_of_a_padded_one(inputs: dict[str, Path]) -> None:
    """No row is predicted from the end of another, not even where its first token is to be learned."""
    rows = [{"input_ids": [9, 8, 7, 6], "labels": [9, 8, -100, 6]}, {"input_ids": [5, 4, 3], "labels": [5, -100, 3]}]
    ids, labels = torch.tensor([[9, 8, 7, 6], [5, 4, 3, 0]]), torch.tensor([[9, 8, -100, 6], [5, -100, 3, -100]])
    is_token = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    found = []
    for batch in ({"input_ids": ids, "labels": labels, "attention_mask": is_token}, step.in_one_row(rows)):
        torch.manual_seed(3)
        policy = models.new_adapter(models.load_base(inputs["base_model"]), name=step.ADAPTER, rank=4, alpha=8.0)
        models.quicken(policy)
        loss = policy(**batch).loss
        loss.backward()
        found.append([loss.detach(), *(value.grad for value in policy.parameters() if value.grad is not None)])

    assert len(found[0]) == 15
    for padded, packed in zip(*found, strict=True):
        torch.testing.assert_close(packed, padded, atol=1e-6, rtol=1e-4)


def test_a_demonstration_that_does_not_fit_is_left_out_and_counted(inputs: dict[str, Path], tmp_path: Path) -> None:
    rows = [*(_demonstration(number) for number in range(24)), _demonstration(25, answer="It is long. " * 40)]
    records.write(inputs["demonstrations"] / "demonstrations.jsonl", rows)

    context = _run(inputs, tmp_path, epochs=0.2)

    assert context.measurements["left_out"].value == 1


def test_no_demonstration_that_fits_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    rows = [_demonstration(1, answer="It is long. " * 40)]
    records.write(inputs["demonstrations"] / "demonstrations.jsonl", rows)

    with pytest.raises(DataRefused) as refusal:
        _run(inputs, tmp_path)

    assert str(refusal.value) == (
        "demonstrations.jsonl has no demonstration of the split `train` within 64 tokens; 1 are longer. "
        "Add demonstrations, or raise sft.context_tokens if the base model's context allows it."
    )


def _work(inputs: dict[str, Path], folder: Path, sharding: str, rank: int, port: int) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    PartialState._reset_state()  # what this process's parent found, being alone
    distributed.init_process_group("gloo", timeout=timedelta(minutes=5))
    context = _run(inputs, folder, process=(rank, 2), sharding=sharding, **UNEVEN)
    measured = {name: found.value for name, found in context.measurements.items()}
    told = [context.series, measured, folder_digest(context.output("sft_adapter"))]
    (folder / f"told-{rank}.json").write_text(json.dumps(told))


UNEVEN = {"epochs": 3.0, "batch_size": 3}
"""Of 20 demonstrations: the last batch of an epoch has 2."""


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_take_the_steps_of_one(
    inputs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    two_processes: Callable[..., list[int | None]],
    sharding: str,
) -> None:
    """Every update's loss agrees to a part in a thousand, though one process has twice the rows of the other."""
    arguments, collated = trainer.arguments, trainer._collated
    monkeypatch.setattr(trainer, "arguments", lambda *given, **more: arguments(*given, **more) | {"logging_steps": 1})

    def counted(rows: Any, *, share: Any, **more: Any) -> Any:
        batch = collated(rows, share=share, **more)
        with (tmp_path / f"rows-{share.rank}").open("a") as file:
            file.write(f"{int((batch['position_ids'] == 0).sum())}")
        return batch

    monkeypatch.setattr(trainer, "_collated", counted)
    alone = _run(inputs, tmp_path / "alone", **UNEVEN)
    codes = two_processes(_work, inputs, tmp_path, sharding)

    assert codes == [0, 0]
    assert len(alone.series) == 20
    assert [(tmp_path / f"rows-{rank}").read_text()[:7] for rank in (0, 1)] == ["2222221", "1111111"]
    for rank in (0, 1):
        series, measured, _ = json.loads((tmp_path / f"told-{rank}.json").read_text())
        assert [at for at, _ in series] == list(range(1, 21))
        expected = [values["loss"] for _, values in alone.series]
        assert len(set(expected)) == 20, "it learns, so every loss is another"
        assert [values["loss"] for _, values in series] == pytest.approx(expected, rel=1e-3)
        for name in ("held_out_loss", "training_tokens"):
            assert measured[name] == pytest.approx(alone.measurements[name].value, rel=1e-3), name


def test_with_a_split_base_training_resumes_to_the_same_adapter(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_processes: Callable[..., list[int | None]]
) -> None:
    """Both processes stop at update 10 of 20, after the checkpoint of update 9."""
    monkeypatch.setattr(trainer, "SAVE_EVERY", 9)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = two_processes(_work, inputs, tmp_path / "whole", "full")
    with monkeypatch.context() as patch:
        patch.setattr(step._Telling, "on_log", _Killed(step._Telling.on_log))
        killed = two_processes(_work, inputs, tmp_path / "killed", "full")
    kept = [path.name for path in (tmp_path / "killed" / "checkpoints").glob("checkpoint-*")]
    resumed = two_processes(_work, inputs, tmp_path / "killed", "full")

    assert (whole, killed, kept, resumed) == ([0, 0], [1, 1], ["checkpoint-9"], [0, 0])
    digests = [json.loads((tmp_path / name / "told-0.json").read_text())[2] for name in ("whole", "killed")]
    assert digests[0] == digests[1]


def test_a_batch_read_in_parts_gives_the_adapter_of_one_read_whole(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Two and two of four demonstrations, whose answers differ in length: a mean of the parts' means would differ."""
    rows = [_demonstration(number, answer="It is " * (1 + number % 3) + f"{number}.") for number in range(24)]
    records.write(inputs["demonstrations"] / "demonstrations.jsonl", rows)

    whole, parts = (_run(inputs, tmp_path / str(size), micro_batch=size) for size in (0, 2))

    adapters = [load_file(context.output("sft_adapter") / "adapter_model.safetensors") for context in (whole, parts)]
    for name, weight in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], weight, atol=1e-4, rtol=1e-3)
    for name in ("training_tokens", "flop", "held_out_loss"):
        assert parts.measurements[name].value == pytest.approx(whole.measurements[name].value, rel=1e-3)


def test_a_part_that_does_not_divide_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="`micro_batch` is 3, which does not divide `batch_size`, 4"):
        Settings(batch_size=4, micro_batch=3)


@pytest.mark.parametrize(
    ("rows", "remedy"), [(2, "Set sft.micro_batch to 2, which was tried and fits"), (0, "Not even one fits")]
)
def test_too_little_memory_is_refused_with_the_size_that_fits(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, remedy: str
) -> None:
    """A batch of more rows than there is room for fails as PyTorch's CPU allocator does."""
    collate = step.in_one_row

    def short(batch: list[step.Row]) -> dict[str, Any]:
        if len(batch) > rows:
            torch.empty(1 << 60, dtype=torch.uint8)
        return collate(batch)

    monkeypatch.setattr(step, "in_one_row", short)

    with pytest.raises(ConfigRefused, match=rf"^A pass over 4 demonstrations of up to \d+ tokens .*memory\. {remedy}"):
        _run(inputs, tmp_path)


def test_too_little_memory_for_what_is_held_out_is_refused_the_same_way(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = step._loss

    def short(model: Any, rows: list[step.Row], tokens: Any, *, at_once: int) -> float:
        if at_once > 3:
            torch.empty(1 << 60, dtype=torch.uint8)
        return whole(model, rows, tokens, at_once=at_once)

    monkeypatch.setattr(step, "_loss", short)

    with pytest.raises(ConfigRefused, match=r"A pass over 32 demonstrations .* Set sft\.micro_batch to 2, which was tried"):
        _run(inputs, tmp_path)
