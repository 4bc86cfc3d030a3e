"""Checkpoints of training: tensors and what else the loop knows, in one safetensors file that is whole or absent.

Shared by the steps that train. A step whose draws all derive from (seed, update) and that saves parameters, optimiser
moments and counters goes on from here exactly as if it had never stopped (on a CPU; a GPU may round differently).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from components import ranks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FILE = "checkpoint.safetensors"
MOMENT = "optimizer."


def save(folder: Path, parameters: Mapping[str, Tensor], *, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Keep the parameters, the optimiser's moments and `state` (JSON), in place of the last checkpoint; rank 0 alone does."""
    if not ranks.here().leads:
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(parameters) | {
        f"{MOMENT}{index}.{name}": torch.as_tensor(value)
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }
    draft = folder / f".{FILE}.draft"
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(copies, draft, metadata={"state": json.dumps(state)})
    draft.replace(folder / FILE)


def resume(folder: Path, parameters: Mapping[str, Tensor], *, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Copy the last checkpoint into the parameters and the optimiser; its `state`, or None where there is none."""
    path = folder / FILE
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        state: dict[str, Any] = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
    moments: dict[int, dict[str, Tensor]] = {}
    for name in sorted(name for name in tensors if name.startswith(MOMENT)):
        index, part = name.removeprefix(MOMENT).split(".", 1)
        moments.setdefault(int(index), {})[part] = tensors[name]
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return state
