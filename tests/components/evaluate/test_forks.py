"""Batches that are shared among processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from components.errors import ModelRefused, TryAgain
from components.evaluate import forks
from components.evaluate.panel import BASE, Asker, Decoding, Panel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE_AT_A_TIME = Decoding(seed=3, temperature=1.0, answer_tokens=7, draws=2, batch_size=1)
DIALOGUES = [[{"role": "user", "content": "Is the sky blue? " + "No. " * times}] for times in range(6)]


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def panel(tiny_models: dict[str, Path]) -> Panel:
    return Panel.load(
        tiny_models["base_model"], {"sft": tiny_models["sft_adapter"], "candidate": tiny_models["reward_adapter"]}
    )


def _said(panel: Panel) -> list[Any]:
    """What every model of a panel says, and how likely it finds two words, asked in turns."""
    found: list[Any] = []
    for name in (BASE, "sft", "candidate", BASE):
        asker = Asker(panel, name, ONE_AT_A_TIME)
        found.append((asker.answers(DIALOGUES), asker.likelihoods(DIALOGUES, ["Yes.", "No."] * 3)))
    return found


@pytest.mark.usefixtures("three_threads")
def test_three_processes_say_what_one_says(panel: Panel) -> None:
    """To the last bit: a batch is computed by one thread in either case. The adapters differ, so a mix-up would show."""
    together, flop = _said(panel), dict(panel.flop)
    panel.flop.clear()
    torch.set_num_threads(1)
    alone = _said(panel)

    assert together == alone
    assert together[1] != together[2] != together[0] == together[3]
    assert flop == panel.flop


@pytest.mark.usefixtures("three_threads")
def test_batches_come_back_in_their_order_from_as_many_processes_as_threads() -> None:
    found = forks.share([5, 6, 7, 8, 9, 10, 11], lambda part: (part, os.getpid(), torch.get_num_threads()))

    assert [part for part, _, _ in found] == [5, 6, 7, 8, 9, 10, 11]
    assert len({process for _, process, _ in found}) == 3
    assert {threads for _, _, threads in found} == {1}
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("place", [0, 1])
def test_what_breaks_in_any_process_breaks_the_whole(place: int) -> None:
    """The first batch is this process's own, the second another's."""

    def work(part: int) -> int:
        if part == place:
            message = "The model gives logits that are not numbers."
            raise ModelRefused(message)
        return part

    with pytest.raises(ModelRefused, match="logits that are not numbers"):
        forks.share([0, 1, 2], work)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_process_that_is_gone_is_a_reason_to_try_again() -> None:
    """As the kernel ends one that takes too much memory."""
    parent = os.getpid()

    def work(part: int) -> int:
        if os.getpid() != parent:
            os._exit(9)
        return part

    with pytest.raises(TryAgain, match=r"^A process that asked a model ended without an answer\. Look whether memory ran out"):
        forks.share([0, 1, 2], work)


def test_batches_for_processes_are_even() -> None:
    """300 rows at 128: four of 75 for two processes to share, and 128, 128 and 44 for one."""
    rows = list(range(300))

    even, plain = forks.batches(rows, 128, even=True), forks.batches(rows, 128, even=False)

    assert [len(batch) for batch in even] == [75] * 4
    assert [len(batch) for batch in plain] == [128, 128, 44]
    assert [row for batch in even for row in batch] == rows
    assert forks.batches([], 128, even=True) == []


def test_only_a_small_model_on_a_cpu_is_shared(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert forks.is_small(panel.model)

    monkeypatch.setattr(forks, "SMALL", 100)

    assert not forks.is_small(panel.model)
