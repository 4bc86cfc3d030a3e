"""Writes the whole data folder, all of it or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from components.errors import DataRefused
from components.records import write
from components.testbed import annotators, labels, tables

MARK = "testbed.json"
"""Says that the testbed wrote the folder, from which seed and size."""
GUIDELINES = Path(__file__).parent / "guidelines"


def write_world(out: Path, *, seed: int, size: str, force: bool = False) -> dict[str, int]:
    """Write the data folder and say how many records each table has.

    Args:
        out: Where. Written beside it first, then renamed.
        seed: Same seed and size, same bytes.
        size: A name in `tables.SIZES`.
        force: Also replace a folder that the testbed did not write.

    Raises:
        DataRefused: Something else is at `out`.
    """
    _refuse_foreign(out, force=force)
    fresh = out.with_name(f".{out.name}.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    counts = _write_tables(fresh, seed, size)
    for guideline in sorted(GUIDELINES.glob("*.md")):
        target = fresh / "guidelines" / guideline.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(guideline.read_bytes())
    _write_json(fresh / "guidelines" / "versions.json", labels.GUIDELINES)
    _replace(out, fresh)
    return counts


def _write_tables(folder: Path, seed: int, size_name: str) -> dict[str, int]:
    size = tables.SIZES[size_name]
    asked = tables.prompts(seed, size)
    pool = annotators.people(seed, size.annotators)
    made = {
        "corpus": tables.corpus(seed, size),
        "demonstrations": tables.demonstrations(seed, size, asked),
        "comparisons": [*tables.comparisons(seed, size, asked, pool), *tables.checks(seed, size, asked, pool)],
        "golden": tables.golden(seed, size, asked),
        "prompts": asked,
        "annotators": [person.annotator for person in pool],
    }
    counts = {name: write(folder / f"{name}.jsonl", records) for name, records in made.items()}
    _write_json(folder / "target_population.json", annotators.target_population())
    about = {"generator": "components.testbed", "records": counts, "seed": seed, "simulated": True, "size": size_name}
    _write_json(folder / MARK, about)
    return counts


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def _refuse_foreign(out: Path, *, force: bool) -> None:
    is_ours = (out / MARK).is_file() or (out.is_dir() and not any(out.iterdir()))
    if out.exists() and not is_ours and not force:
        message = (
            f"{out} exists and was not written by the testbed: it has no {MARK}. "
            "Choose another folder with --out, or add --force to replace it."
        )
        raise DataRefused(message)


def _replace(out: Path, fresh: Path) -> None:
    old = out.with_name(f".{out.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    if old.exists():
        shutil.rmtree(old)
