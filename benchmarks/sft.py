"""What the library costs in fine-tuning: TRL's SFTTrainer, as the step `sft` sets it, against a lean loop.

    make bench NAME=sft

ends with {"tokens_ratio"}: tokens a second of the step's trainer over those of the loop; 1 would mean that the trainer costs
nothing. The loop has the same base, adapter, batches, loss and optimiser, on packed rows: no padding, and logits only where an
answer is learned. Demonstrations have 16 to 96 random tokens, the second half of which is the answer.

Time is CPU seconds of the process, the median of the updates but the first; each system runs in a process of its own.
`--size 3m` is the default; `--ours FOLDER` (the step) and `--lean FOLDER` measure one system in this process.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import ppo
from benchmarks import reward as beside

ROWS, UPDATES = 16, 6


def main() -> None:
    """Measure both and print the ratio."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.sft", description=__doc__.splitlines()[0])
    options.add_argument("--size", choices=ppo.SIZES, default="3m")
    options.add_argument("--ours", type=Path)
    options.add_argument("--lean", type=Path)
    given = options.parse_args()
    if given.ours or given.lean:
        print(json.dumps(_ours(given.ours) if given.ours else _lean(given.lean)))
        return
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        beside.write(given.size, Path(temporary))
        for system in ("ours", "lean"):
            command = [sys.executable, "-m", "benchmarks.sft", f"--{system}", temporary]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
            found[system] = json.loads(done.stdout.splitlines()[-1])
            print(f"{given.size} {system}: {found[system]}", file=sys.stderr, flush=True)
    print(json.dumps({"tokens_ratio": round(found["ours"]["tokens_per_second"] / found["lean"]["tokens_per_second"], 3)}))


def rows(vocabulary: int) -> list[dict[str, list[int]]]:
    """Demonstrations, the same for both."""
    dice = random.Random(2)
    made = []
    for _ in range(ROWS * (UPDATES + 1)):
        ids = [dice.randrange(2, vocabulary) for _ in range(dice.randint(16, 96))]
        half = len(ids) // 2
        made.append({"input_ids": ids, "labels": [-100] * half + ids[half:]})
    return made


def _settings() -> Any:
    from components.sft.config import Settings

    return Settings(batch_size=ROWS, max_updates=UPDATES + 1, rank=ppo.RANK, alpha=2.0 * ppo.RANK)


def _result(seconds: list[float], tokens: float) -> dict[str, float]:
    return {"tokens_per_second": tokens / statistics.median(seconds[1:])}


def _ours(folder: Path) -> dict[str, float]:
    from components import quiet

    quiet.settle()
    from transformers import TrainerCallback

    from components import models
    from components.catalog import STEPS
    from components.context import Context
    from components.sft import step

    clock = ppo.Clock()
    models.seed_everything(0)
    base = models.load_base(folder / "base_model")
    policy = models.quicken(models.new_adapter(base, name=step.ADAPTER, rank=ppo.RANK, alpha=2.0 * ppo.RANK))
    scratch = folder / "scratch"
    context = Context(step=STEPS["sft"], config=_settings(), seed=0, inputs={}, scratch=scratch, checkpoints=scratch)
    drawn = rows(base.config.vocab_size)
    tokenizer = models.load_tokenizer(folder / "base_model")
    trainer = step.make_trainer(context, policy, tokenizer, drawn)
    seconds: list[float] = []

    class Watch(TrainerCallback):
        """Notes the clock at both ends of an update."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begin = clock.now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(clock.now() - self.begin)

    trainer.add_callback(Watch())
    trainer.train()
    return _result(seconds, _mean_tokens(drawn))


def _mean_tokens(drawn: list[dict[str, list[int]]]) -> float:
    """Tokens of a batch, on average."""
    return ROWS * statistics.fmean(len(row["input_ids"]) for row in drawn)


def _lean(folder: Path) -> dict[str, float]:
    from components import quiet

    quiet.settle()
    import torch

    from components import models, packing, sequences

    clock = ppo.Clock()
    models.seed_everything(0)
    base = models.load_base(folder / "base_model")
    policy = models.quicken(models.new_adapter(base, name="sft", rank=ppo.RANK, alpha=2.0 * ppo.RANK)).train()
    trained = [value for value in policy.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=_settings().learning_rate, fused=True)
    drawn = rows(base.config.vocab_size)
    seconds = []
    for update in range(UPDATES + 1):
        batch = drawn[update * ROWS : (update + 1) * ROWS]
        begin = clock.now()
        ids, is_token = (part.to(base.device) for part in sequences.right_padded([row["input_ids"] for row in batch], pad=0))
        labels, _ = (part.to(base.device) for part in sequences.right_padded([row["labels"] for row in batch], pad=-100))
        learned = (labels[:, 1:] != -100).nonzero(as_tuple=True)
        place = is_token.flatten().cumsum(0).view_as(is_token) - 1
        output = policy(
            input_ids=ids[is_token][None],
            position_ids=sequences.position_ids(is_token)[is_token][None],
            use_cache=False,
            logits_to_keep=place[:, :-1][learned],
            **packing.arguments(is_token),
        )
        loss = -sequences.token_logprobs(output.logits[0], labels[:, 1:][learned]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(clock.now() - begin)
    return _result(seconds, _mean_tokens(drawn))


if __name__ == "__main__":
    main()
