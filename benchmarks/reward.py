"""The reward model's training against TRL's RewardTrainer: pairs a second and memory.

    make bench NAME=reward

ends with {"pairs_ratio", "pairs_ratio_long_prompt", "memory_ratio"}. Ratios are ours over TRL's: more pairs and less memory are
better; memory is that of the long prompts. Prompts have 32 tokens, long ones 256; answers have 1 to 48 and
end with probability 1/40 a token.

Both train LoRA of rank 16 on all linear layers and a scalar head of the same random Llama, in float32, on the same tokens, 16
pairs an update, tokenised beforehand. Ours also computes the likelihood of the answers, which the score reads. Time is
CPU seconds of the process, the median of the updates but the first; each system runs in a process of its own. TRL is the one
that the project installs, as its users would set it here: no gradient checkpointing, padding to the longest of a batch.

`--size 3m` is the default; `--ours FOLDER` and `--peer FOLDER` measure one system in this process.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import ppo

PROMPTS = {"short": 32, "long": 256}
PAIRS, UPDATES, LONGEST = 16, 4, 48


def main() -> None:
    """Measure both systems on both lengths and print the summary."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.reward", description=__doc__.splitlines()[0])
    options.add_argument("--size", choices=ppo.SIZES, default="3m")
    options.add_argument("--ours", type=Path)
    options.add_argument("--peer", type=Path)
    options.add_argument("--prompts", choices=PROMPTS, default="short")
    given = options.parse_args()
    if given.ours or given.peer:
        found = _ours(given.ours, given.prompts) if given.ours else _peer(given.peer, given.prompts)
        print(json.dumps(found))
        return
    results: dict[tuple[str, str], dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        write(given.size, Path(temporary))
        for length in PROMPTS:
            for system in ("ours", "peer"):
                results[system, length] = _child(system, temporary, length)
                print(f"{given.size} {system}, {length} prompts: {results[system, length]}", file=sys.stderr, flush=True)

    def ratio(what: str, length: str) -> float:
        return round(results["ours", length][what] / results["peer", length][what], 3)

    summary = {
        "pairs_ratio": ratio("pairs_per_second", "short"),
        "pairs_ratio_long_prompt": ratio("pairs_per_second", "long"),
        "memory_ratio": ratio("peak_bytes", "long"),
    }
    print(json.dumps(summary))


def _child(system: str, folder: str, length: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.reward", f"--{system}", folder, "--prompts", length]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write(size: str, folder: Path) -> None:
    """A random Llama with a context of 1,024 tokens, and an adapter to start from."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers import models as kinds
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from components import models

    torch.manual_seed(0)
    shape = ppo.SIZES[size]
    heads = shape["num_attention_heads"]
    base = folder / "base_model"
    config = LlamaConfig(
        **shape,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        pad_token_id=ppo.PAD,
        bos_token_id=None,
        eos_token_id=ppo.END,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(base)
    words = Tokenizer(kinds.WordLevel({f"w{index}": index for index in range(shape["vocab_size"])}, unk_token="w2"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w1")
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(base)
    adapted = models.new_adapter(models.load_base(base, as_type=torch.float32), name="any", rank=ppo.RANK, alpha=2 * ppo.RANK)
    models.save_adapter(adapted, folder / "sft_adapter", name="any")


def pairs(length: str, vocabulary: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompt and two answers as token ids, the same for both systems."""
    dice = random.Random(1)

    def answer() -> list[int]:
        tokens = 1
        while tokens < LONGEST and dice.random() > ppo.END_CHANCE:
            tokens += 1
        return [*(dice.randrange(2, vocabulary) for _ in range(tokens - 1)), ppo.END]

    return [
        ([dice.randrange(2, vocabulary) for _ in range(PROMPTS[length])], answer(), answer())
        for _ in range(PAIRS * (UPDATES + 1))
    ]


def _result(clock: ppo.Clock, seconds: list[float]) -> dict[str, float]:
    return {"pairs_per_second": PAIRS / statistics.median(seconds[1:]), "peak_bytes": clock.peak()}


def _ours(folder: Path, length: str) -> dict[str, float]:
    from components import quiet

    quiet.settle()
    import peft  # noqa: F401  (what both import is not counted as memory of the training)

    from components import models
    from components.pairs import Pair
    from components.records import Message, Prompt
    from components.reward import train, votes
    from components.reward.config import Settings
    from components.rewardmodel import Answered

    clock = ppo.Clock()
    models.seed_everything(0)
    settings = Settings(batch_pairs=PAIRS)
    context: Any = SimpleNamespace(
        config=settings, rank=0, ranks=1, inputs={name: folder / name for name in ("base_model", "sft_adapter")}
    )
    ranker = train.load(context)
    optimizer, _ = train.make_optimizer(ranker, settings)
    drawn = pairs(length, ranker.model.config.vocab_size)
    texts = [(Answered(prompt, first), Answered(prompt, second)) for prompt, first, second in drawn]
    prompt = Prompt(id="p", kind="any", split="train", messages=[Message(role="user", content="any")])
    labelled = votes.of_everybody([Pair(prompt, ("a", "b"), 1.0, 1) for _ in drawn])
    counted = labelled.counted(heads=1, seed=0)
    seconds = []
    for update in range(UPDATES + 1):
        rows = range(update * PAIRS, (update + 1) * PAIRS)
        begin = clock.now()
        batch = [texts[row] for row in rows]
        train.improve(ranker, counted.rows(rows), batch, optimizer, settings, weights=labelled.even)
        seconds.append(clock.now() - begin)
    return _result(clock, seconds)


def _peer(folder: Path, length: str) -> dict[str, float]:
    from components import quiet

    quiet.settle()
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    clock = ppo.Clock()
    base = folder / "base_model"
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    rows = [
        {"chosen_ids": [*prompt, *first], "rejected_ids": [*prompt, *second]}
        for prompt, first, second in pairs(length, model.config.vocab_size)
    ]
    seconds: list[float] = []

    class Watch(TrainerCallback):
        """Notes the clock at both ends of an update."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begin = clock.now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(clock.now() - self.begin)

    how = RewardConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=UPDATES + 1,
        per_device_train_batch_size=PAIRS,
        max_length=None,
        center_rewards_coefficient=0.01,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not clock.on_gpu,
        report_to="none",
        save_strategy="no",
        logging_steps=1000,
        disable_tqdm=True,
    )
    trainer = RewardTrainer(
        model=model,
        args=how,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(r=ppo.RANK, lora_alpha=2 * ppo.RANK, target_modules="all-linear", task_type="SEQ_CLS"),
        callbacks=[Watch()],
    )
    begin = time.perf_counter()
    trainer.train()
    print(f"{time.perf_counter() - begin:.1f} s of training", file=sys.stderr)
    return _result(clock, seconds)


if __name__ == "__main__":
    main()
