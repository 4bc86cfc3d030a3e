"""Groups of annotators weigh what the settings say over all batches, however few of them have a group's labels."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from components.reward import train
from components.reward.config import Settings
from components.reward.votes import Counted
from components.share import ALONE

PAIRS, BATCH, FEW = 160, 16, (7, 90)
"""The second group has labels of two pairs."""
LOSSES = torch.tensor([[0.4, 1.2]])


def _data() -> Counted:
    labels = torch.zeros((1, PAIRS, 2))
    labels[0, :, 0] = 3.0
    labels[0, FEW, 1] = 1.0
    nothing = torch.zeros((PAIRS, 2))
    return Counted(nothing + 0.5, nothing, nothing, labels, labels.mean(dim=1))


def _learn(monkeypatch: pytest.MonkeyPatch, settings: Settings, *, passes: int) -> tuple[list[float], torch.Tensor]:
    """The groups' weights at the end, and the gradient by each group's loss, added up; losses stay as they are."""
    data, weights, pull = _data(), [0.5, 0.5], torch.zeros(2)
    ranker = SimpleNamespace(share=ALONE)
    for _ in range(passes):
        for start in range(0, PAIRS, BATCH):
            batch = data.rows(range(start, start + BATCH))
            means = (LOSSES * (batch.labels.sum(dim=1) > 0)).requires_grad_()
            optimizer = torch.optim.SGD([means], lr=0.0)
            monkeypatch.setattr(optimizer, "zero_grad", lambda: None)
            monkeypatch.setattr(train, "_losses", lambda *_, rows, means=means: (means * bool(rows), means.sum() * 0))
            texts = [None] * BATCH
            _, weights = train.improve(ranker, batch, texts, optimizer, settings, weights=weights)
            pull += means.grad[0]
    return weights, pull / passes


def test_amounts_of_labels_are_1_on_average_for_every_group() -> None:
    data = _data()

    amounts = torch.stack([data.rows(range(start, start + BATCH)).amount[0] for start in range(0, PAIRS, BATCH)])

    torch.testing.assert_close(amounts.mean(dim=0), torch.ones(2))
    assert amounts[:, 1].tolist() == [5, 0, 0, 0, 0, 5, 0, 0, 0, 0]


def test_the_group_that_fares_worst_gets_the_weight_though_few_batches_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(stakeholders="worst_group", gradient_clip=1000)

    weights, _ = _learn(monkeypatch, settings, passes=10)

    # A hundred updates of 0.05 (1.2 - 0.4) are 4 in the logarithm of the weights' ratio.
    assert weights[1] == pytest.approx(1 / (1 + math.exp(-4)), rel=1e-3)


def test_balanced_groups_pull_alike_over_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, pull = _learn(monkeypatch, Settings(stakeholders="balanced", gradient_clip=1000), passes=1)

    assert weights == [0.5, 0.5]
    torch.testing.assert_close(pull, torch.tensor([5.0, 5.0]))
