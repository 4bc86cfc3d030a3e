"""TRL's PPO on the models and prompts of `benchmarks/ppo.py`. Runs in TRL's environment, started by that benchmark.

python peer_ppo.py FOLDER full|lora float32|autocast|bfloat16 UPDATES

`autocast` is TRL's flag `bf16`, with weights in float32; `bfloat16` are the weights themselves.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

ANSWER_TOKENS, SAMPLES, EPOCHS, MINIBATCH, RANK = 48, 64, 4, 16, 16
ON_GPU = torch.cuda.is_available()


def main() -> None:
    """Train a few updates; medians of all but the first."""
    folder, mode, precision, updates = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    before = psutil.Process().memory_info().rss
    base = folder / "base_model"
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")

    def judge() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=kind)

    policy = AutoModelForCausalLM.from_pretrained(base, dtype=kind)
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    how = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        total_episodes=SAMPLES * (updates + 1),
        per_device_train_batch_size=MINIBATCH,
        gradient_accumulation_steps=SAMPLES // MINIBATCH,
        num_mini_batches=SAMPLES // MINIBATCH,
        num_ppo_epochs=EPOCHS,
        local_rollout_forward_batch_size=SAMPLES,
        response_length=ANSWER_TOKENS,
        stop_token_id=tokenizer.eos_token_id,
        missing_eos_penalty=1.0,
        temperature=1.0,
        learning_rate=1e-9,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=precision == "autocast",
        use_cpu=not ON_GPU,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    trainer = PPOTrainer(
        args=how,
        processing_class=tokenizer,
        model=policy,
        ref_model=None,
        reward_model=judge(),
        value_model=judge(),
        train_dataset=Dataset.from_dict({"input_ids": json.loads((folder / "prompts.json").read_text())}),
        peft_config=lora if mode == "lora" else None,
    )
    times = Times(trainer)
    trainer.train()
    print(json.dumps(times.result(updates, before)))


class Times:
    """Notes the clock where TRL goes from one phase to the next."""

    def __init__(self, trainer: PPOTrainer) -> None:
        self.found: list[dict[str, float]] = []
        self.tokens: list[float] = []
        generate, whiten, log = ppo_trainer.batch_generation, ppo_trainer.masked_whiten, trainer.log
        self.last = self._now()

        def generation(*given: Any, **options: Any) -> Any:
            self.last = self._now()
            made = generate(*given, **options)
            is_end = made[0][:, given[1].shape[1] :] == 1
            lengths = torch.where(
                is_end.any(1), is_end.float().argmax(1) + 1, torch.tensor(ANSWER_TOKENS, device=is_end.device)
            )
            self.tokens.append(float(lengths.float().mean()))
            self._end("generation")
            return made

        def whitening(*given: Any, **options: Any) -> Any:
            made = whiten(*given, **options)
            self._end("scoring")
            return made

        def logging(*given: Any, **options: Any) -> Any:
            self._end("optimisation")
            return log(*given, **options)

        ppo_trainer.batch_generation, ppo_trainer.masked_whiten, trainer.log = generation, whitening, logging

    def _now(self) -> float:
        if not ON_GPU:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def _end(self, phase: str) -> None:
        now = self._now()
        if phase == "generation":
            self.found.append({})
        self.found[-1][phase], self.last = now - self.last, now

    def result(self, updates: int, before: float) -> dict[str, float]:
        """Medians of the updates but the first, and peak memory above what the imports take."""
        measured = [each for each in self.found if "optimisation" in each][-updates:]
        phases = {phase: statistics.median(each[phase] for each in measured) for phase in measured[0]}
        peak = (
            torch.cuda.max_memory_allocated() if ON_GPU else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        )
        seconds = statistics.median(sum(each.values()) for each in measured)
        return phases | {
            "samples_per_second": SAMPLES / seconds,
            "peak_bytes": float(peak),
            "answer_tokens": statistics.fmean(self.tokens[-updates:]),
        }


if __name__ == "__main__":
    main()
