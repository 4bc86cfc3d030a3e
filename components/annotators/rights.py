"""Rights of the people who labelled: erasure, and the end of retention.

    python -m components.annotators erase PSEUDONYM --data data --by "NAME, ROLE" --labels unlink|remove
    python -m components.annotators retention --data data

Erasure, in this order, each part safe to repeat:

1. data/: the person's record goes, and what was decided about them; their labels lose annotator and session (`unlink`) or go
   too (`remove`). Rows of others keep their bytes. All tables are replaced together, or none. The folder is pinned anew, and
   what DVC's cache kept of the files that named them is deleted.
2. Reward models and policies that were trained on their labels are found by lineage and tagged; a reward model becomes
   `revoked`, so that PPO refuses it.
3. MLflow: every artifact that names them is deleted from its run, finished or not, and the run never stands in for another
   again; it keeps digests of whom else the artifact held, so that step 2 finds the models of the next person. Messages of
   failed runs that name them are cleared, and so is what killed steps left on this machine.
4. A report says what was done: erasures/HEX.json. It names nobody: HEX is the sha256 of the pseudonym.

What it does not cover: backups, copies of DVC's remote, logs of tasks, runs that were deleted in MLflow, and what a trained
weight remembers; the report says so. A digest of the person's record stays in shown_pools and shown_contributors, where it
keeps tables of two releases from telling who was erased.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import quiet, records
from components.annotators import published
from components.annotators.traces import Name, digest, files_of, mended, owners
from components.datapin import folder_md5
from components.entrypoint import scratch_root
from components.errors import DataRefused, PlumblineError
from components.lineage import Lineage

REPORTS = Path("erasures")
NOT_COVERED = (
    "Not reached from here: backups and remotes of DVC (run `dvc gc` there), logs of tasks, and runs deleted in MLflow "
    "(run `mlflow gc`). What trained weights remember of a label is not removed; the models listed are to be retrained or kept "
    "by a recorded decision."
)


def main() -> None:
    """`erase` and `retention`; exits with the code of the error's class."""
    parser = argparse.ArgumentParser(prog="python -m components.annotators", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    erase_ = commands.add_parser("erase", help="remove a person")
    erase_.add_argument("pseudonym")
    erase_.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    erase_.add_argument("--labels", choices=("unlink", "remove"), default="unlink", help="what happens to their labels")
    erase_.add_argument("--by", required=True, help="who carries it out, for the report")
    retention_ = commands.add_parser("retention", help="whose retention date has passed")
    retention_.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    given = parser.parse_args()
    quiet.settle()
    try:
        if given.command == "erase":
            found = erase(given.pseudonym, given.data, labels=given.labels, by=given.by, lineage=_lineage())
        else:
            found = {"past_retention": past_retention(given.data, now=datetime.now(UTC))}
    except PlumblineError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(error.exit_code)
    sys.stdout.write(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def past_retention(data: Path, *, now: datetime) -> list[str]:
    """Pseudonyms of people whose data should be gone by now, in order."""
    people = records.read(data / "annotators.jsonl", records.Annotator)
    return sorted(
        person.pseudonym for person in people if person.retained_until and records.moment(person.retained_until) <= now
    )


def erase(pseudonym: str, data: Path, *, labels: str, by: str, lineage: Lineage | None) -> dict[str, Any]:
    """Remove a person, and say what was done.

    Args:
        pseudonym: Whom.
        data: The data folder.
        labels: `unlink` keeps their labels without saying whose they are; `remove` takes them out.
        by: Who carries it out.
        lineage: MLflow; None where there is none.

    Raises:
        DataRefused: Nobody of this name is in the data or in MLflow, or something that can't be mended names them. Nothing
            has changed then.
    """
    _refuse_nameless(pseudonym)
    people = data / "annotators.jsonl"
    name = Name(pseudonym, owners(people) if people.is_file() else ())
    with mended(data, pseudonym, remove=labels == "remove") as tables:
        holdings = list(published.holdings(lineage, name)) if lineage else []
        errors = published.errors_naming(lineage, name) if lineage else []
        if not (tables.changed or holdings or errors):
            message = f"Nobody in {data} or in MLflow has the pseudonym {pseudonym!r}. Check it against annotators.jsonl."
            raise DataRefused(message)
        left = tables.naming(name)
        if left:
            message = (
                f"{', '.join(left)} in {data} would still name the person, where nothing can be mended here. Mend it by hand, "
                "then erase; nothing was changed."
            )
            raise DataRefused(message)
        tables.put_in_place()
    dropped = _drop_cached(data, name)
    pin = _pin(data)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    models: list[dict[str, str]] = []
    if lineage:
        models = published.revoke(lineage, {item.run for item in holdings}, {"plumbline.erased_at": at})
        for item in holdings:
            published.withdraw(lineage, item, at=at)
        published.clear_errors(lineage, errors)
    report: dict[str, Any] = {
        "person": digest(pseudonym),
        "erased_at": at,
        "by": by,
        "labels": labels,
        "rows_changed": tables.changed,
        "cached_files_deleted": dropped,
        "attempts_deleted": _drop_attempts(name),
        "pinned": pin,
        "artifacts_deleted": sorted(
            f"{item.step}/{item.name} of run {item.run}" for holding in holdings for item in holding.naming
        ),
        "messages_cleared": sorted(errors),
        "models": models,
        "not_covered": NOT_COVERED,
    }
    REPORTS.mkdir(exist_ok=True)
    path = REPORTS / f"{report['person'][:16]}.json"
    path.write_text(json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def _lineage() -> Lineage | None:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///.plumbline/mlflow.db")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None
    return Lineage(uri, artifacts=os.environ.get("PLUMBLINE_ARTIFACTS"))


def _refuse_nameless(pseudonym: str) -> None:
    if not pseudonym.strip():
        message = "The pseudonym to erase is empty. Give one of annotators.jsonl."
        raise DataRefused(message)


def _drop_cached(data: Path, name: Name) -> int:
    """Delete what DVC's cache holds of files that name the person; how many files that were."""
    cache = data.resolve().parent / ".dvc" / "cache"
    named = [path for path in files_of(cache) if name.stands_in_file(path)]
    for path in named:
        path.unlink()
    return len(named)


def _drop_attempts(name: Name) -> int:
    """Delete what killed and failed steps left on this machine that names the person; how many attempts that were."""
    attempts = [attempt for step in published.HOLDING for attempt in (scratch_root() / step).glob("*")]
    named = [attempt for attempt in attempts if _names(attempt, name)]
    for attempt in named:
        with suppress(FileNotFoundError):
            shutil.rmtree(attempt)
    return len(named)


def _names(attempt: Path, name: Name) -> bool:
    """Does a file of an attempt name the person? A step at work takes its files away while they are read: then look again."""
    while attempt.exists():
        with suppress(FileNotFoundError):
            return any(map(name.stands_in_file, files_of(attempt)))
    return False


def _pin(data: Path) -> str:
    """The new version's digest, or why it was not pinned."""
    command = [sys.executable, "-m", "dvc", "add", "-q", data.name]
    done = subprocess.run(command, cwd=data.resolve().parent, capture_output=True, text=True, check=False)
    if done.returncode:
        return "not pinned: no DVC repository here"
    return folder_md5(data)
