"""Several batches at once through one model."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch

from components.evaluate import seats
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


def _panel(tiny_models: dict[str, Path]) -> Panel:
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


def _three_seats(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Panel:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("components.models.PARAMETERS_OF_A_THREAD", 1)
    return _panel(tiny_models)


@pytest.mark.usefixtures("three_threads")
def test_three_threads_say_what_one_says(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit: a batch is computed by one thread in either case. The adapters differ, so a mix-up would show."""
    together = _said(three := _three_seats(tiny_models, monkeypatch))
    torch.set_num_threads(1)
    alone = _said(one := _panel(tiny_models))

    assert (len(three.seats), len(one.seats)) == (3, 1)
    assert together == alone
    assert together[1] != together[2] != together[0] == together[3]
    assert three.flop == one.flop


@pytest.mark.usefixtures("three_threads")
def test_twins_have_the_weights_of_the_model_itself(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, *twins = _three_seats(tiny_models, monkeypatch).seats

    for twin in twins:
        pairs = list(zip(model.parameters(), twin.parameters(), strict=True))
        assert pairs
        assert all(own.data_ptr() == other.data_ptr() for own, other in pairs)
        assert not {*model.modules()} & {*twin.modules()}


@pytest.mark.usefixtures("three_threads")
def test_a_large_model_sits_alone(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "SMALL", 100)

    assert len(_three_seats(tiny_models, monkeypatch).seats) == 1


def test_batches_come_back_in_their_order_and_no_seat_is_taken_twice() -> None:
    """The first batch waits until the last one is done."""
    last_is_done, taken = threading.Event(), []

    def work(seat: str, batch: int) -> int:
        taken.append(seat)
        assert taken.count(seat) == 1
        if batch == 0:
            assert last_is_done.wait(20)
        if batch == 4:
            last_is_done.set()
        taken.remove(seat)
        return batch * 10

    assert seats.share(["left", "right"], [0, 1, 2, 3, 4], work) == [0, 10, 20, 30, 40]


def test_what_breaks_in_a_thread_breaks_the_whole() -> None:
    def work(_: str, batch: int) -> float:
        return 1 / batch

    with pytest.raises(ZeroDivisionError):
        seats.share(["left", "right"], [2, 1, 0], work)
