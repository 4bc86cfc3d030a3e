"""The audit of annotators: its speed on a million labels, what it finds on the testbed, and what that is worth.

    make bench NAME=annotators

ends with {"audit_1m_s", "validate_1m_s", "peak_mb", "dawid_skene_speedup", "growth_exponent", "inverter_recall",
"false_positive_rate", "gold_gain"}.

- audit_1m_s, validate_1m_s: the whole step on 1,000,000 comparisons by 1,000 annotators, reading and writing included, each in
  a process of its own; peak_mb: the larger resident memory of the two. The texts are the testbed's, the labels drawn from their
  gold scores. growth_exponent: slope of log seconds of the audit over log labels, from 10,000 to 1,000,000; that of validation
  goes to stderr, and both are plotted in benchmarks/annotators_growth.svg.
- dawid_skene_speedup: seconds of crowd-kit 1.4.2's Dawid-Skene over ours, on the same million labels, the same 20 iterations.
- inverter_recall, false_positive_rate: over ten seeds of the testbed, each with its pool of 60; inverters with at least 30
  labels, and honest annotators. Recall of every other kind goes to stderr.
- gold_gain: accuracy on golden pairs of a reward model trained on audited labels less that of one trained on raw labels, 10 %
  of the annotators preferring the worse answer; mean over seeds. Takes a base model and an SFT adapter, trained once.

`--parts speed detect gold` measures some of it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import growth, peers
from benchmarks.crowd import PEER, SCRIPT, encoded
from components import quiet, records
from components.catalog import STEPS
from components.config import section_class
from components.context import Context
from components.testbed import annotators as pool
from components.testbed import gold, tables
from components.testbed.answers import WRITERS, write
from components.testbed.dice import Dice
from components.testbed.folder import write_world

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
PEOPLE = 1_000
SEEDS = range(10)
GOLD_SEEDS = range(10)
TIMED = {"annotators": "audit", "validate": "validation"}
"""Step → what it is called here."""
PLOT = Path(__file__).with_name("annotators_growth.svg")
PLOTTED = "Seconds of the whole step by number of comparisons; dashed: linear growth"
MALICIOUS = 6
"""Of 60."""
ITERATIONS = 20
LEAST_LABELS = 30
PARTS = ("speed", "detect", "gold")
INPUTS = ("comparisons", "golden", "prompts", "annotators")


def main() -> None:
    """Measure, then print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help="run one step on a folder and print its figures")
    options.add_argument("--folder", type=Path, help="keep what was trained here, and reuse it")
    given = options.parse_args()
    quiet.settle()
    if given.step:
        print(json.dumps(_timed(given.step[0], Path(given.step[1]))))
        return
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "speed" in given.parts:
            figures |= _speed(folder)
        if "detect" in given.parts:
            figures |= _detection(folder)
        if "gold" in given.parts:
            figures |= _gold_gain(folder)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _speed(folder: Path) -> dict[str, float]:
    """Seconds, memory and growth of both steps, with a plot."""
    seconds: dict[str, dict[int, float]] = {step: {} for step in TIMED}
    peak = 0.0
    for size in SIZES:
        data = _million(folder / f"labels-{size}", size)
        for step, told in TIMED.items():
            found = _child(step, data)
            seconds[step][size], peak = found["seconds"], max(peak, found["peak_mb"])
            _say(f"{told} of {size} labels: {found['seconds']:.1f} s, {found['cpu_s']:.1f} s of CPU, {found['peak_mb']:.0f} MB")
        if size == SIZES[-1]:
            speedup = _speedup(data)
        shutil.rmtree(data)
    PLOT.write_text(growth.plot(PLOTTED, {TIMED[step]: line for step, line in seconds.items()}), encoding="utf-8")
    slopes = {step: _slope(line) for step, line in seconds.items()}
    _say(f"growth: {', '.join(f'{TIMED[step]} {slope:.2f}' for step, slope in slopes.items())}; plotted in {PLOT}")
    return {
        "audit_1m_s": seconds["annotators"][SIZES[-1]],
        "validate_1m_s": seconds["validate"][SIZES[-1]],
        "peak_mb": peak,
        "dawid_skene_speedup": speedup,
        "growth_exponent": slopes["annotators"],
    }


def _slope(seconds: dict[int, float]) -> float:
    """Of log seconds over log labels."""
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


def _child(step: str, data: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.annotators", "--step", step, str(data)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _timed(step: str, data: Path) -> dict[str, float]:
    """Run the step in this process; seconds of its work, by the clock and of CPU, and the process's largest resident memory."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs = {table: data / table for table in INPUTS}
        if step == "validate":
            inputs = {"data_version": _version(data, Path(scratch))}
        context = _context(step, inputs, Path(scratch), seed=0)
        work = importlib.import_module(f"components.{step}.step").run
        begin, busy = time.perf_counter(), time.process_time()
        work(context)
        seconds, cpu_s = time.perf_counter() - begin, time.process_time() - busy
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _version(data: Path, scratch: Path) -> Path:
    """What `start` would record of the folder, which lies where `validate` looks."""
    import os

    from components.provenance import file_digest

    os.environ["PLUMBLINE_DATA_ROOT"] = str(data)
    flat = data / "flat"
    if not flat.exists():
        flat.mkdir()
        for table in records.TABLES:
            (flat / f"{table}.jsonl").hardlink_to(data / table / f"{table}.jsonl")
        (flat / "guidelines").mkdir()
        (flat / "guidelines" / "v1.md").write_text("Prefer the answer that helps more.\n", encoding="utf-8")
    files = {
        path.relative_to(flat).as_posix(): {"sha256": file_digest(path), "bytes": path.stat().st_size}
        for path in sorted(flat.rglob("*"))
        if path.is_file()
    }
    folder = scratch / "version"
    folder.mkdir()
    version = {"folder": "flat", "pin": "flat.dvc", "md5": "", "files": files}
    (folder / "data_version.json").write_text(json.dumps(version), encoding="utf-8")
    return folder


def _context(step: str, inputs: dict[str, Path], scratch: Path, *, seed: int, **settings: Any) -> Context[Any]:
    return Context(
        step=STEPS[step],
        config=section_class(step)(**settings),
        seed=seed,
        inputs=inputs,
        scratch=scratch,
        checkpoints=scratch / "checkpoints",
    )


def _million(folder: Path, size: int) -> Path:
    """A data version with `size` comparisons: 25 answers to each of the testbed's prompts, pairs of them, 2.5 labels a pair."""
    shutil.rmtree(folder, ignore_errors=True)
    world = folder.with_name("world")
    if not world.exists():
        write_world(world, seed=0, size="full")
    for table in records.TABLES:
        (folder / table).mkdir(parents=True)
        shutil.copyfile(world / f"{table}.jsonl", folder / table / f"{table}.jsonl")
    rng = np.random.default_rng(size)
    people = [person.annotator for person in pool.people(1, PEOPLE)]
    records.write(folder / "annotators" / "annotators.jsonl", people)
    prompts = list(records.read(folder / "prompts" / "prompts.jsonl", records.Prompt))
    pairs = _pairs(prompts, math.ceil(size / 2.5))
    golden = rng.choice(len(pairs), max(20, len(pairs) // 100), replace=False)
    records.write(folder / "golden" / "golden.jsonl", (_golden(pairs[row], row) for row in golden.tolist()))
    _label(folder / "comparisons" / "comparisons.jsonl", pairs, [person.pseudonym for person in people], size, rng)
    return folder


def _pairs(prompts: list[records.Prompt], count: int) -> list[tuple[str, str, str, float]]:
    """Prompt, two answers, and how much better the first is."""
    dice, found = Dice(0, "million"), []
    writers = list(WRITERS.values())
    each = min(25, 2 + math.ceil(math.sqrt(2 * count / len(prompts))))
    for prompt in prompts:
        assert prompt.truth is not None
        answers = {write(prompt.truth, dice.pick(writers), dice) for _ in range(3 * each)}
        scored = [(text, gold.score(prompt, text).utility) for text in sorted(answers)[:each]]
        found += [(prompt.id, one, two, a - b) for (one, a), (two, b) in combinations(scored, 2)]
    return dice.shuffled(found)[:count]


def _golden(pair: tuple[str, str, str, float], row: int) -> records.GoldenPair:
    better = "first" if pair[3] > 0 else "second"
    return records.GoldenPair(id=f"g{row}", prompt_id=pair[0], responses=pair[1:3], better=better)


def _label(path: Path, pairs: list[Any], names: list[str], size: int, rng: np.random.Generator) -> None:
    """Labels by gold score and noise; 2 % of the people prefer the worse answer."""
    row = rng.permutation(np.arange(size) % len(pairs))
    who, noise, swap = rng.integers(0, PEOPLE, size), rng.normal(0, 0.5, size), rng.random(size) < 0.5
    seconds, strength = np.round(rng.uniform(8, 60, size), 1), rng.integers(1, 4, size)
    with path.open("w", encoding="utf-8") as file:
        for at in range(size):
            prompt, one, two, gap = pairs[row[at]]
            first_wins = (gap + noise[at] > 0) != (who[at] < PEOPLE // 50)
            day = f"2026-{2 + at * 3 // size:02d}-{1 + at * 84 // size % 28:02d}"
            record = {
                "annotator": names[who[at]],
                "criteria": {},
                "guideline": "v1",
                "id": f"c-{at:07d}",
                "label": "first" if first_wins != swap[at] else "second",
                "labelled_at": f"{day}T09:{at // 60 % 60:02d}:{at % 60:02d}Z",
                "prompt_id": prompt,
                "response_models": None,
                "responses": [two, one] if swap[at] else [one, two],
                "seconds_taken": float(seconds[at]),
                "session": None,
                "strength": int(strength[at]),
            }
            file.write(json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n")


def _speedup(data: Path) -> float:
    """crowd-kit's seconds over ours, on labels that are in memory, items being pairs and classes first, second, tie."""
    from components.annotators.dawid_skene import dawid_skene

    rows = []
    with (data / "comparisons" / "comparisons.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            one, two = sorted(row["responses"])
            said = row["label"] if row["label"] == "tie" else str((row["label"] == "first") == (row["responses"][0] == one))
            rows.append((row["annotator"], records.pair_id(row["prompt_id"], (one, two)), said))
    items, workers, said, _ = encoded(rows)
    table = data / "labels.tsv"
    table.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    del rows
    ours = []
    for _ in range(3):
        begin = time.perf_counter()
        dawid_skene(items, workers, said, iterations=ITERATIONS, tolerance=0.0)
        ours.append(time.perf_counter() - begin)
    out = data / "peer.json"
    command = [peers.environment(PEER), "-W", "ignore", "-c", SCRIPT, table, str(ITERATIONS), out]
    subprocess.run(command, check=True, stdout=sys.stderr)
    theirs = json.loads(out.read_text(encoding="utf-8"))["seconds"]
    _say(f"{ITERATIONS} iterations of {len(items)} labels: ours {min(ours):.2f} s (best of 3), crowd-kit {theirs:.2f} s")
    return float(theirs / min(ours))


def _detection(folder: Path) -> dict[str, float]:
    """Recall by kind and false positives over the seeds."""
    found: Counter[str] = Counter()
    there: Counter[str] = Counter()
    precise: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for seed in SEEDS:
        world = _world(folder / f"detect-{seed}", seed, pool.people(seed))
        named, labels = _audited(world, seed)
        for name, role in pool.roles(seed).items():
            if role != "inverted" or labels[name] >= LEAST_LABELS:
                there[role] += 1
                found[role] += name in named
        for name, kind in named.items():
            precise[kind][pool.roles(seed)[name] != "sound"] += 1
        shutil.rmtree(world)
    for role in pool.BAD_ROLES:
        _say(f"{role}: {found[role]} of {there[role]} named")
    for kind, right in sorted(precise.items()):
        _say(f"named {kind}: {right[True]} bad annotators, {right[False]} honest ones")
    return {
        "inverter_recall": found["inverted"] / there["inverted"],
        "false_positive_rate": found["sound"] / there["sound"],
    }


def _world(folder: Path, seed: int, people: list[pool.Person]) -> Path:
    """The testbed's tables, each in a folder as `validate` writes them, labelled by these people."""
    size = tables.SIZES["full"]
    asked = tables.prompts(seed, size)
    labels = [*tables.comparisons(seed, size, asked, people), *tables.checks(seed, size, asked, people)]
    made = {
        "comparisons": labels,
        "golden": tables.golden(seed, size, asked),
        "prompts": asked,
        "annotators": [person.annotator for person in people],
    }
    for table, rows in made.items():
        records.write(folder / table / f"{table}.jsonl", rows)
    return folder


def _audited(world: Path, seed: int) -> tuple[dict[str, str], Counter[str]]:
    """Pseudonym → what it was named for, and everybody's labels."""
    context = _context("annotators", {table: world / table for table in INPUTS}, world / "audit", seed=seed)
    importlib.import_module("components.annotators.step").run(context)
    audit = json.loads((context.output("label_weights") / "audit.json").read_text(encoding="utf-8"))
    named = {proposal["annotator"]: proposal["kind"] for proposal in audit["proposals"]}
    table = world / "comparisons" / "comparisons.jsonl"
    return named, Counter(str(row.annotator) for row in records.read(table, records.Comparison))


def _gold_gain(folder: Path) -> dict[str, float]:
    """Golden accuracy with audited labels less with raw ones, over seeds of people and training."""
    shared = _trained_base(folder)
    gains = []
    for seed in GOLD_SEEDS:
        people = pool.people(seed, bad=("inverted",) * MALICIOUS)
        world = _world(folder / f"gold-{seed}", 0, people)
        _audited(world, seed)
        raw = world / "raw"
        raw.mkdir(exist_ok=True)
        rows = records.read(world / "comparisons" / "comparisons.jsonl", records.Comparison)
        (raw / "weights.jsonl").write_text("".join(json.dumps({"comparison": row.id, "weight": 1.0}) + "\n" for row in rows))
        audited = world / "audit" / "outputs" / "label_weights"
        for name in ("groups.json", "tables.json"):
            shutil.copyfile(audited / name, raw / name)
        accuracy = {
            name: _reward(shared, world, weights, world / name, seed) for name, weights in (("raw", raw), ("audited", audited))
        }
        gains.append(accuracy["audited"] - accuracy["raw"])
        _say(f"seed {seed}: golden accuracy {accuracy['raw']:.3f} on raw labels, {accuracy['audited']:.3f} on audited ones")
    _say(f"gain by seed: {', '.join(f'{gain:+.3f}' for gain in gains)}")
    return {"gold_gain": statistics.fmean(gains)}


def _trained_base(folder: Path) -> dict[str, Path]:
    """A base model and an SFT adapter with the defaults, made once."""
    from benchmarks.alignment import make_tables, train_step

    world = folder / "world"
    if not world.exists():
        write_world(world, seed=0, size="full")
    artifacts = make_tables(folder / "trained", world)
    for step in ("base", "sft"):
        train_step(step, folder / "trained", artifacts, 0, {})
    return {name: artifacts[name] for name in ("base_model", "sft_adapter")}


def _reward(shared: dict[str, Path], world: Path, weights: Path, scratch: Path, seed: int) -> float:
    inputs = shared | {table: world / table for table in INPUTS} | {"label_weights": weights}
    context = _context("reward", inputs, scratch, seed=seed)
    importlib.import_module("components.reward.step").run(context)
    return context.measurements["golden_accuracy"].value


if __name__ == "__main__":
    main()
