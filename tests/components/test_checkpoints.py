"""Training that goes on from a checkpoint is training that never stopped."""

from __future__ import annotations

import torch

from components import checkpoints


def _start():
    torch.manual_seed(3)
    parameter = torch.nn.Parameter(torch.randn(4))
    return parameter, torch.optim.AdamW([parameter], lr=0.1)


def _train(parameter, optimizer, steps):
    for _ in range(steps):
        (parameter**4).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_parameters_moments_and_state_come_back(tmp_path):
    whole, optimizer = _start()
    _train(whole, optimizer, 5)
    first, optimizer = _start()
    _train(first, optimizer, 2)
    checkpoints.save(tmp_path, {"p": first}, optimizer=optimizer, state={"done": 2})

    second, optimizer = _start()
    state = checkpoints.resume(tmp_path, {"p": second}, optimizer=optimizer)
    _train(second, optimizer, 3)

    assert state == {"done": 2}
    assert torch.equal(second, whole)


def test_without_a_checkpoint_nothing_is_touched(tmp_path):
    parameter, optimizer = _start()
    before = parameter.detach().clone()

    assert checkpoints.resume(tmp_path, {"p": parameter}, optimizer=optimizer) is None
    assert torch.equal(parameter, before)


def test_a_half_written_checkpoint_is_not_read(tmp_path):
    parameter, optimizer = _start()
    checkpoints.save(tmp_path, {"p": parameter}, optimizer=optimizer, state={"done": 7})
    (tmp_path / f".{checkpoints.FILE}.draft").write_bytes(b"half")

    assert checkpoints.resume(tmp_path, {"p": parameter}, optimizer=optimizer) == {"done": 7}
