"""What TRL's trainers are told about this machine."""

from __future__ import annotations

import pytest
import torch

from components import models, trainer


@pytest.mark.parametrize(
    ("device", "computed_in", "autocast"),
    [("cuda", None, True), ("cuda", torch.bfloat16, True), ("cuda", torch.float32, False), ("cpu", None, False)],
)
def test_a_trainer_computes_in_bfloat16_on_a_gpu_unless_settings_say_float32(
    monkeypatch, tmp_path, device, computed_in, autocast
):
    monkeypatch.setattr(models, "device", lambda: torch.device(device))

    found = trainer.arguments(tmp_path, updates=40, rows=3, learning_rate=0.02, seed=5, computed_in=computed_in)

    assert found["bf16"] is autocast
