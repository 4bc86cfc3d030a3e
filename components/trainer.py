"""What the steps that train with TRL share: how its trainers are set on this machine, and what they are told to leave alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components import models

if TYPE_CHECKING:
    from pathlib import Path

SAVE_EVERY = 50
"""Updates between checkpoints."""
WARM_UP = 0.05
"""Share of the updates in which the learning rate rises."""


def arguments(folder: Path, *, updates: int, rows: int, learning_rate: float, seed: int) -> dict[str, Any]:
    """Arguments of a trainer's config: one line of progress every five updates, one checkpoint kept, nothing sent anywhere.

    Args:
        folder: Where checkpoints go.
        updates: Of the whole training.
        rows: Of a batch, in this process.
        learning_rate: The highest.
        seed: Of the order of the data and of everything drawn.
    """
    on_gpu = models.device().type == "cuda"
    return {
        "output_dir": str(folder),
        "max_steps": updates,
        "per_device_train_batch_size": rows,
        "learning_rate": learning_rate,
        "warmup_steps": round(WARM_UP * updates),
        "max_length": None,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": False,
        "logging_steps": 5,
        "save_steps": SAVE_EVERY,
        "save_total_limit": 1,
        "seed": seed,
        "data_seed": seed,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": on_gpu,
    }
