"""Imports preference data: `python -m components.importers hh-rlhf FILE... --out FOLDER`."""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from components import records
from components.errors import DataRefused, PlumblineError, TryAgain
from components.importers import hh_rlhf
from components.provenance import file_digest


def main() -> None:
    """Import, say what came of it, and pin the folder."""
    parser = argparse.ArgumentParser(prog="python -m components.importers", description=__doc__)
    parser.add_argument("format", choices=["hh-rlhf"])
    parser.add_argument("files", nargs="+", type=Path, help="JSON-lines files, plain or .gz")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist, or be an earlier import")
    parser.add_argument("--limit", type=int, default=None, help="take only the first rows of each file")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which responses are shown")
    options = parser.parse_args()
    try:
        _import(options.files, options.out, limit=options.limit, seed=options.seed)
    except PlumblineError as error:
        _stop(error)
    except OSError as error:
        where = error.filename or options.out
        _stop(
            TryAgain(
                f"{where} could not be read or written: {error.strerror or error}. Nothing was changed; mend it, try again."
            )
        )


def _stop(error: PlumblineError) -> NoReturn:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (a command line)
    sys.exit(error.exit_code)


def _import(files: list[Path], out: Path, *, limit: int | None, seed: int) -> None:
    made = hh_rlhf.Imported()
    names = _names(files)
    for name, path in names.items():
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            hh_rlhf.convert(itertools.islice(file, limit), name=name, seed=seed, into=made)
    if not made.tables["comparisons"]:
        message = (
            f"None of {made.rows} rows could be used. Check that the files are hh-rlhf's: `chosen` and `rejected` dialogues."
        )
        raise DataRefused(message)
    sources = {name: {"file": path.name, "sha256": file_digest(path)} for name, path in names.items()}
    used = made.rows - len(made.quarantined)
    origin = {"format": "hh-rlhf", "sources": sources, "seed": seed, "limit": limit, "rows": made.rows, "imported": used}
    _write(made, out, origin)
    print(  # noqa: T201  (a command line)
        f"{made.rows} rows = {used} imported + {len(made.quarantined)} quarantined ({out}/import_quarantine.jsonl). "
        f"{len(made.tables['prompts'])} prompts. {_pin(out)}"
    )


def _names(files: list[Path]) -> dict[str, Path]:
    """A name for each file, for ids and reasons: `harmless-base`, or with its folder where that is not unique.

    Raises:
        DataRefused: A file is missing, or given twice.
    """
    stems = [path.name.partition(".")[0] for path in files]
    named: dict[str, Path] = {}
    for path, stem in zip(files, stems, strict=True):
        if not path.is_file():
            message = f"There is no file {path}. Give the path of an hh-rlhf JSON-lines file."
            raise DataRefused(message)
        name = stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}-{stem}"
        if name in named:
            message = f"{named[name]} and {path} can't be told apart by folder and name. Give each file once, or rename one."
            raise DataRefused(message)
        named[name] = path
    return named


def _write(made: hh_rlhf.Imported, out: Path, origin: dict[str, Any]) -> None:
    """The whole folder, or nothing."""
    if out.exists() and not (out / "import_quarantine.jsonl").exists():
        message = f"{out} exists and is not an earlier import. Name another folder, or remove it yourself."
        raise DataRefused(message)
    draft, before = out.with_name(f".{out.name}.draft"), out.with_name(f".{out.name}.before")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for table, rows in made.tables.items():
        records.write(draft / f"{table}.jsonl", rows.values())
    lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in made.quarantined)
    (draft / "import_quarantine.jsonl").write_text(lines, encoding="utf-8")
    (draft / "import.json").write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(before, ignore_errors=True)
    if out.exists():
        out.rename(before)
    draft.rename(out)
    shutil.rmtree(before, ignore_errors=True)


def _pin(out: Path) -> str:
    """Pin the folder with DVC where it lies in a DVC repository."""
    done = subprocess.run([sys.executable, "-m", "dvc", "add", "-q", str(out)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return f"Pinned by {out}.dvc."
    return f"Not pinned yet: run `dvc add {out}` in the project's folder."


if __name__ == "__main__":
    main()
