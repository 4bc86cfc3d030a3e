"""Imports preference data: `python -m components.importers FORMAT FILE... --out FOLDER`."""

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
from components.importers import argilla, hh_rlhf, label_studio, mapping, votes
from components.importers.identities import Identities
from components.importers.rows import Imported
from components.provenance import file_digest

ANNOTATORS = "annotators"
"""What the table of people is called in reasons and in import.json."""
READERS = {"label-studio": label_studio.votes, "argilla": argilla.votes, "table": votes.of_table}


def main() -> None:
    """Import, say what came of it, and pin the folder."""
    parser = argparse.ArgumentParser(prog="python -m components.importers", description=__doc__)
    parser.add_argument("format", choices=["hh-rlhf", *READERS])
    parser.add_argument("files", nargs="+", type=Path, help="JSON, JSON-lines or CSV files, plain or .gz")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist, or be an earlier import")
    parser.add_argument("--mapping", type=Path, default=None, help="TOML file: which column is what (docs/importing.md)")
    parser.add_argument("--limit", type=int, default=None, help="hh-rlhf: take only the first rows of each file")
    parser.add_argument("--seed", type=int, default=0, help="hh-rlhf: of the order in which responses are shown")
    options = parser.parse_args()
    try:
        if options.format == "hh-rlhf":
            made, origin = _dialogues(_named(options.files), limit=options.limit, seed=options.seed)
        else:
            made, origin = _labels(_numbered(options.files), options.format, options.mapping)
        _finish(made, options.out, origin)
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


def _dialogues(names: dict[str, Path], *, limit: int | None, seed: int) -> tuple[Imported, dict[str, Any]]:
    made = Imported()
    for name, path in names.items():
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            hh_rlhf.convert(itertools.islice(file, limit), name=name, seed=seed, into=made)
    sources = {name: {"file": path.name, "sha256": file_digest(path)} for name, path in names.items()}
    return made, {"format": "hh-rlhf", "sources": sources, "seed": seed, "limit": limit}


def _labels(names: dict[str, Path], format_: str, path: Path | None) -> tuple[Imported, dict[str, Any]]:
    mapped = mapping.load(path, format_=format_)
    people = path.parent / mapped.annotators.file if path and mapped.annotators else None
    if people is not None and not people.is_file():
        message = f"{path} names the table of annotators {people}, which is no file. Correct annotators.file."
        raise DataRefused(message)
    work = votes.Import(mapped, Identities.from_environment(), source=format_)
    work.remember(READERS[format_], names, people)
    if people is not None and mapped.annotators:
        work.people(people, mapped.annotators, name=ANNOTATORS)
    for name, file in names.items():
        work.labels(READERS[format_], name, file)
    described = {"mapping": path} if path else {}
    files = names | described | ({ANNOTATORS: people} if people else {})
    return work.finish(), {"format": format_, "sources": {name: {"sha256": file_digest(each)} for name, each in files.items()}}


def _finish(made: Imported, out: Path, origin: dict[str, Any]) -> None:
    if not made.tables["comparisons"]:
        reason = f" The first reason: {made.quarantined[0]['reason']}." if made.quarantined else ""
        message = f"None of {made.rows} rows could be used. Check that the files are {origin['format']}'s.{reason}"
        raise DataRefused(message)
    used = made.rows - len(made.quarantined)
    _write(made, out, origin | {"rows": made.rows, "imported": used})
    print(  # noqa: T201  (a command line)
        f"{made.rows} rows = {used} imported + {len(made.quarantined)} quarantined ({out}/import_quarantine.jsonl). "
        f"{len(made.tables['prompts'])} prompts. {_pin(out)}"
    )


def _named(files: list[Path]) -> dict[str, Path]:
    """A name for each file, for ids and reasons: `harmless-base`, or with its folder where that is not unique.

    Raises:
        DataRefused: A file is missing, or given twice.
    """
    stems = [path.name.partition(".")[0] for path in files]
    named: dict[str, Path] = {}
    for path, stem in zip(files, stems, strict=True):
        _refuse_missing(path)
        name = stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}-{stem}"
        if name in named:
            message = f"{named[name]} and {path} can't be told apart by folder and name. Give each file once, or rename one."
            raise DataRefused(message)
        named[name] = path
    return named


def _numbered(files: list[Path]) -> dict[str, Path]:
    """A name for each file: its place among them and the beginning of its digest. A file's own name may be a person's.

    Raises:
        DataRefused: A file is missing, or given twice.
    """
    digests: dict[str, Path] = {}
    for path in files:
        _refuse_missing(path)
        digest = file_digest(path)
        if digest in digests:
            message = f"{digests[digest]} and {path} hold the same. Give each file once."
            raise DataRefused(message)
        digests[digest] = path
    return {f"{place:02d}-{digest[:8]}": path for place, (digest, path) in enumerate(digests.items(), start=1)}


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        message = f"There is no file {path}. Give the path of an export."
        raise DataRefused(message)


def _write(made: Imported, out: Path, origin: dict[str, Any]) -> None:
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
