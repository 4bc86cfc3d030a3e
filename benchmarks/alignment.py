"""Whether alignment is real on the testbed: base, SFT and PPO judged by the gold function on prompts nobody trained on.

    make bench NAME=alignment

ends with {"seeds", "base_utility", "sft_utility", "ppo_utility", "golden_accuracy", "proxy_gain", "kl_nats", "seconds"};
each figure but the first has `mean`, `low`, `high` (least and greatest over the seeds) and `each`. Utility is the mean
gold score, from -1 to 1, of sampled answers (temperature 1) to the prompts of split `evaluation`.
The data are the same for all seeds; everything trained, the base model included, is trained anew.

`python -m benchmarks.alignment --folder DIR --seeds 0` keeps what was trained below DIR, and does not train it again.
`--set 'alignment.method="dpo"'` puts DPO in PPO's place; its figures have the same names.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import models, quiet, records
from components.catalog import STEPS
from components.config import section_class
from components.context import Context
from components.provenance import folder_digest
from components.testbed import gold
from components.testbed.folder import write_world

if TYPE_CHECKING:
    from collections.abc import Sequence

TRAINED = ("annotators", "base", "sft", "reward", "ppo")
ADAPTERS = {"base": None, "sft": "sft_adapter", "ppo": "policy_adapter"}
ANSWER_TOKENS = 48


def main() -> None:
    """Train and judge for each seed, then print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--folder", type=Path, help="keep what was trained here, and reuse it")
    options.add_argument(
        "--set", nargs="*", default=[], metavar="STEP.SETTING=JSON", help="settings that differ from the defaults"
    )
    given = options.parse_args()
    quiet.settle()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        world = folder / "world"
        if not world.exists():
            write_world(world, seed=0, size="full", force=False)
        print(
            json.dumps(_summary([_seed(folder / f"seed-{seed}", world, seed, _overrides(given.set)) for seed in given.seeds]))
        )


def _seed(folder: Path, world: Path, seed: int, overrides: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Train with one seed; utility by policy, reward-model accuracy, and what training took."""
    artifacts = make_tables(folder, world)
    found: dict[str, float] = {}
    for step in TRAINED:
        found |= train_step(step, folder, artifacts, seed, overrides)
    for policy in ADAPTERS:
        scores = _utilities(artifacts, policy, seed)
        kinds = {kind: round(statistics.fmean(each), 2) for kind, each in sorted(scores.items())}
        found[f"{policy}_utility"] = statistics.fmean(score for each in scores.values() for score in each)
        _say(f"seed {seed} {policy}: utility {found[f'{policy}_utility']:.3f} {kinds}")
    return found


def trained(folder: Path, steps: Sequence[str]) -> dict[str, Path]:
    """Artifacts of the testbed up to some steps with seed 0, trained where they are not there."""
    world = folder / "world"
    if not world.exists():
        write_world(world, seed=0, size="full", force=False)
    artifacts = make_tables(folder / "seed-0", world)
    for name in steps:
        train_step(name, folder / "seed-0", artifacts, 0, {})
    return artifacts


def make_tables(folder: Path, world: Path) -> dict[str, Path]:
    """Table artifacts as `validate` would write them. The testbed's data have no bad rows."""
    artifacts = {}
    for table in records.TABLES:
        artifacts[table] = folder / "tables" / table
        artifacts[table].mkdir(parents=True, exist_ok=True)
        shutil.copyfile(world / f"{table}.jsonl", artifacts[table] / f"{table}.jsonl")
    artifacts["base_version"] = folder / "base_version"
    artifacts["base_version"].mkdir(exist_ok=True)
    (artifacts["base_version"] / "base_version.json").write_text('{"source": "scratch"}', encoding="utf-8")
    return artifacts


def train_step(
    step: str, folder: Path, artifacts: dict[str, Path], seed: int, overrides: dict[str, dict[str, Any]]
) -> dict[str, float]:
    """Run a step, or find its outputs; adds them to `artifacts`."""
    spec, report = STEPS[step], folder / f"{step}.json"
    scratch = folder / step
    if not report.exists():
        shutil.rmtree(scratch, ignore_errors=True)
        inputs = {name: artifacts[name] for name in spec.reads}
        context = Context(
            step=spec,
            config=section_class(step)(**overrides.get(step, {})),
            sections={name: section_class(name)(**overrides.get(name, {})) for name in spec.sections},
            seed=seed,
            inputs=inputs,
            scratch=scratch,
            checkpoints=scratch / "checkpoints",
            input_digests={name: folder_digest(path) for name, path in inputs.items()},
        )
        work = importlib.import_module(f"components.{step}.step").run
        begin = time.perf_counter()
        work(context)
        found = {f"{step}.{name}": measured.value for name, measured in context.measurements.items()}
        found[f"{step}.seconds"] = time.perf_counter() - begin
        (folder / f"{step}.facts.json").write_text(json.dumps(context.facts), encoding="utf-8")
        report.write_text(json.dumps(found, indent=1), encoding="utf-8")
    artifacts |= {name: scratch / "outputs" / name for name in spec.writes}
    measured = json.loads(report.read_text(encoding="utf-8"))
    _say(f"seed {seed} {step}: " + ", ".join(f"{name.partition('.')[2]} {value:.4g}" for name, value in measured.items()))
    return measured


def _utilities(artifacts: dict[str, Path], policy: str, seed: int) -> dict[str, list[float]]:
    """Prompt kind → gold utility of each sampled answer to the prompts of split `evaluation`."""
    prompts = [
        prompt
        for prompt in records.read(artifacts["prompts"] / "prompts.jsonl", records.Prompt)
        if prompt.split == "evaluation"
    ]
    tokenizer = models.load_tokenizer(artifacts["base_model"])
    model: Any = models.load_base(artifacts["base_model"])
    adapter = ADAPTERS[policy]
    if adapter:
        model = models.load_adapter(model, artifacts[adapter], name=policy)
    dialogues = [[message.model_dump() for message in prompt.messages] for prompt in prompts]
    answers = models.generate(
        model, tokenizer, dialogues, max_new_tokens=ANSWER_TOKENS, temperature=1.0, seed=seed, batch_size=105
    )
    found = defaultdict(list)
    for prompt, answer in zip(prompts, answers, strict=True):
        found[prompt.kind].append(gold.score(prompt, answer).utility)
    return found


def _summary(seeds: list[dict[str, float]]) -> dict[str, Any]:
    """Mean and spread of each figure over the seeds."""

    def spread(each: list[float]) -> dict[str, Any]:
        rounded = [round(value, 4) for value in each]
        return {"mean": round(statistics.fmean(each), 4), "low": min(rounded), "high": max(rounded), "each": rounded}

    return {
        "seeds": len(seeds),
        **{f"{policy}_utility": spread([seed[f"{policy}_utility"] for seed in seeds]) for policy in ADAPTERS},
        "golden_accuracy": spread([seed["reward.golden_accuracy"] for seed in seeds]),
        "proxy_gain": spread([seed["ppo.proxy_reward_after"] - seed["ppo.proxy_reward_before"] for seed in seeds]),
        "kl_nats": spread([seed["ppo.kl_nats"] for seed in seeds]),
        "seconds": {step: spread([seed[f"{step}.seconds"] for seed in seeds]) for step in TRAINED},
    }


def _overrides(given: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for setting in given:
        name, _, value = setting.partition("=")
        step, _, field = name.partition(".")
        found[step][field] = json.loads(value)
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
