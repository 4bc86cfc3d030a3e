"""How many threads work on a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components import models


@pytest.fixture
def threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("rows", "expected"), [(10, 1), (1500, 3), (90_000, 4)])
def test_a_thread_for_each_half_million_parameters_and_never_more_than_there_are(threads, rows, expected):
    models.share_out(nn.Embedding(rows, 1000, device="meta"))

    assert torch.get_num_threads() == expected


def test_what_the_user_set_stays(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")

    models.share_out(nn.Embedding(10, 1000, device="meta"))

    assert torch.get_num_threads() == 4
