"""How fast the suites are: all of them on four models, and answers a second against a naive loop and against Inspect.

`suites_s`: wall seconds for all suites on base, SFT, champion and candidate.
`speedup_vs_loop`: answers a CPU second of one thread, over those of `generate` with one prompt at a time.
`speedup_vs_inspect`: the same, over Inspect's own transformers provider with its batching. Inspect is installed once, beside
its own dependencies, below ~/.cache/plumbline/peers; it asks the SFT policy with its adapter merged into the base model.

CPU seconds, because other work on the machine disturbs all alike. Part of `benchmarks/gates.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import peers
from components import models, records
from components.catalog import STEPS
from components.config import section_class
from components.context import Context, ModelVersion
from components.evaluate import step
from components.evaluate.panel import Asker, Decoding, Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.models import Dialogue

SPEEDS = {"suites": "suites_s", "loop": "speedup_vs_loop", "inspect": "speedup_vs_inspect"}
"""Name of a measurement → the figure that it gives."""
BASE_DIGEST = "sha256:base"
FEW = 24
"""Prompts that are asked one at a time."""
ANSWER_TOKENS = 48
PEER = ("inspect-ai==0.3.285", "torch==2.13.0", "transformers==5.23.0", "accelerate==1.15.0")


def measured(speed: str, artifacts: dict[str, Path], folder: Path) -> dict[str, float]:
    """One of the figures, by its name."""
    if speed == "suites":
        return {SPEEDS[speed]: _suites_seconds(artifacts)}
    torch.set_num_threads(1)
    dialogues = _dialogues(artifacts)
    panel = Panel.load(artifacts["base_model"], {"sft": artifacts["sft_adapter"]})
    panel.speak_as("sft")
    ours = len(dialogues) / _cpu_seconds(
        lambda: Asker(panel, "sft", Decoding(0, 1.0, ANSWER_TOKENS, 1, 128)).answers(dialogues)
    )
    theirs = _one_by_one(panel, dialogues) if speed == "loop" else _inspect(artifacts, dialogues, folder)
    print(f"answers a CPU second: {ours:.1f} here, {theirs:.2f} with {speed}", file=sys.stderr, flush=True)
    return {SPEEDS[speed]: round(ours / theirs, 1)}


def evaluation(artifacts: dict[str, Path], adapter: Path, seed: int, scratch: Path, **settings: Any) -> Context[Any]:
    """The step `evaluate` on an adapter as the candidate, with default settings but those given."""
    spec = STEPS["evaluate"]
    inputs = {name: artifacts[name] for name in spec.reads if name in artifacts} | {"policy_adapter": adapter}
    return Context(
        step=spec,
        config=section_class("evaluate")(**settings),
        seed=seed,
        inputs=inputs,
        scratch=scratch,
        checkpoints=scratch / "checkpoints",
        input_digests={"base_model": BASE_DIGEST},
    )


def silently(context: Context[Any]) -> None:
    """Run the step. Its progress goes to standard output, where a benchmark prints one line of JSON."""
    with contextlib.redirect_stdout(io.StringIO()):
        step.run(context)


def _suites_seconds(artifacts: dict[str, Path]) -> float:
    """All suites on four models."""
    with tempfile.TemporaryDirectory() as scratch:
        context = evaluation(artifacts, artifacts["policy_adapter"], 0, Path(scratch))
        context.baseline = ModelVersion("policy", "1", "sha256:sft", artifacts["sft_adapter"], BASE_DIGEST)
        spent = _cpu_seconds(lambda: silently(context))
        seconds = context.measurements["suites_seconds"].value
    print(f"all suites: {seconds:.1f} s, {spent:.1f} CPU seconds with the report", file=sys.stderr, flush=True)
    return round(seconds, 1)


def _dialogues(artifacts: dict[str, Path]) -> list[Dialogue]:
    prompts = records.read(artifacts["prompts"] / "prompts.jsonl", records.Prompt)
    return [[message.model_dump() for message in prompt.messages] for prompt in prompts if prompt.split == "evaluation"]


def _one_by_one(panel: Panel, dialogues: list[Dialogue]) -> float:
    few = dialogues[:: max(1, len(dialogues) // FEW)][:FEW]

    def loop() -> None:
        for dialogue in few:
            settings = {"max_new_tokens": ANSWER_TOKENS, "temperature": 1.0, "seed": 0, "batch_size": 1}
            models.generate(panel.model, panel.tokenizer, [dialogue], **settings)

    return len(few) / _cpu_seconds(loop)


def _inspect(artifacts: dict[str, Path], dialogues: list[Dialogue], folder: Path) -> float:
    """Answers a CPU second in Inspect's own environment."""
    merged = folder / "merged"
    if not (merged / "config.json").exists():
        adapted = models.load_adapter(models.load_base(artifacts["base_model"]), artifacts["sft_adapter"], name="sft")
        adapted.merge_and_unload().save_pretrained(merged)
        models.load_tokenizer(artifacts["base_model"]).save_pretrained(merged)
    (folder / "dialogues.json").write_text(json.dumps(dialogues), encoding="utf-8")
    script = Path(__file__).with_name("peer_inspect.py")
    found = peers.last_line([peers.environment(PEER), "-W", "ignore", script, merged, folder / "dialogues.json", ANSWER_TOKENS])
    return found["answers_per_second"]


def _cpu_seconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin
