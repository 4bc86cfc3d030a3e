"""A base model split over two processes: each holds half of it, and both compute what the whole one does."""

from __future__ import annotations

import json

import pytest
import torch
from torch import distributed

from components import models
from components.share import Share


def _work(folder, out, rank, port):
    """One of two processes; `all` is asked as if rank 0 were done and rank 1 not."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    base = models.load_base(folder, parts=2)
    held = sum(parameter.to_local().numel() for parameter in base.parameters())
    tokens = torch.tensor([[5, 9, 7, 8], [4, 6, 11, 3]])
    with torch.no_grad():
        logits = base(input_ids=tokens).logits
    share = Share(rank, 2, sharded=True)
    agreed = [share.all(is_so=rank == 0), share.all(is_so=True)]
    (out / f"{rank}.json").write_text(json.dumps([held, logits.tolist(), agreed, share.parts]))


def test_each_holds_half_and_computes_with_the_whole(tiny_models, tmp_path, two_processes):
    whole = models.load_base(tiny_models["base_model"])
    with torch.no_grad():
        expected = whole(input_ids=torch.tensor([[5, 9, 7, 8], [4, 6, 11, 3]])).logits

    codes = two_processes(_work, tiny_models["base_model"], tmp_path)

    assert codes == [0, 0]
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert sum(held for held, *_ in told) == models.parameter_count(whole)
    for held, logits, agreed, parts in told:
        assert held == pytest.approx(models.parameter_count(whole) / 2, rel=0.05)
        torch.testing.assert_close(torch.tensor(logits), expected)
        assert (agreed, parts) == ([False, True], 2)


def test_who_holds_the_whole_base_asks_nobody():
    share = Share(0, 2)

    assert (share.all(is_so=True), share.all(is_so=False), share.parts) == (True, False, 1)
