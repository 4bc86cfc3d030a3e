"""What the steps that train with TRL share: how its trainers are set on this machine, and what they are told to leave alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from accelerate.data_loader import BatchSamplerShard
from transformers import Trainer

from components import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from components.share import Share

SAVE_EVERY = 50
"""Updates between checkpoints."""
WARM_UP = 0.05
"""Share of the updates in which the learning rate rises."""
IGNORED = -100
"""Label of a token that is not learned."""


class SharingTrainer(Trainer):
    """Several processes take the steps of one: each reads every batch, and learns from its share of the rows.

    Left alone, accelerate gives each process batches of its own and fills up the last ones of an epoch with rows of the first.
    Gradients are averaged by PyTorch's DistributedDataParallel, where the base is split by transformers' trainer itself; tokens
    are counted over all processes.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        """As transformers' own, with the optimiser in the checkpoints where the base is split, too.

        There transformers refuses that, for it could not restore the state of split parameters. An adapter's are not split.
        """
        options["args"].save_only_model = True
        super().__init__(*given, **options)
        self.args.save_only_model = False

    def get_train_dataloader(self) -> Any:
        """The batches of a single process."""
        loader = super().get_train_dataloader()
        shard = loader.batch_sampler
        if isinstance(shard, BatchSamplerShard):
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return loader

    def share(self, share: Share) -> None:
        """Keep this process's rows of every batch."""
        if share.ranks > 1:
            collate: Any = self.data_collator  # type: ignore[has-type]  # transformers doesn't declare it
            self.data_collator = partial(_collated, share=share, collate=collate)


def _collated(rows: list[dict[str, Any]], *, share: Share, collate: Callable[[list[dict[str, Any]]], Any]) -> Any:
    """This process's rows as tensors. Where it has none, the first row, of which it learns nothing."""
    mine = [rows[row] for row in share.of(torch.arange(len(rows))).tolist()]
    nothing = [rows[0] | {"labels": [IGNORED] * len(rows[0]["labels"])}]
    return collate(mine or nothing)


def arguments(
    folder: Path, *, updates: int, rows: int, learning_rate: float, seed: int, computed_in: torch.dtype | None = None
) -> dict[str, Any]:
    """Arguments of a trainer's config: one line of progress every five updates, one checkpoint kept, nothing sent anywhere.

    Args:
        folder: Where checkpoints go.
        updates: Of the whole training.
        rows: Of a batch that a process reads.
        learning_rate: The highest.
        seed: Of the order of the data and of everything drawn.
        computed_in: The type of what is computed on a GPU; by default bfloat16.
    """
    on_gpu = models.device().type == "cuda"
    return {
        "output_dir": str(folder),
        "max_steps": updates,
        "per_device_train_batch_size": rows,
        "learning_rate": learning_rate,
        "warmup_steps": round(WARM_UP * updates),
        "max_length": None,
        "bf16": on_gpu and computed_in != torch.float32,
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
