"""Rights of the people who labelled: erasure, and the end of retention.

    python -m components.annotators erase PSEUDONYM --data data --by "NAME, ROLE" --labels unlink|remove
    python -m components.annotators retention --data data

Erasure, in this order, each part safe to repeat:

1. data/: the person's record goes, and what was decided about them; their labels lose annotator and session (`unlink`) or go
   too (`remove`). Rows of others keep their bytes. All tables are replaced together, or none. The folder is pinned anew, and
   what DVC's cache kept of the files that named them is deleted.
2. MLflow: every published artifact that names them is deleted from its run, and the run never stands in for another again.
3. Reward models and policies that were trained on their labels are found by lineage and tagged; a reward model becomes
   `revoked`, so that PPO refuses it.
4. A report says what was done: erasures/HEX.json. It names nobody: HEX is the sha256 of the pseudonym.

What it does not cover: backups, copies of DVC's remote, and what a trained weight remembers; the report says so. A digest of
the person's record stays in shown_pools, where it keeps tables of two releases from telling who was erased.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import records
from components.annotators.traces import Name, digest, files_of, mended, owners
from components.datapin import folder_md5
from components.errors import DataRefused, PlumblineError
from components.lineage import Lineage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from components.context import Published

REPORTS = Path("erasures")
HOLDING = {"validate": ("annotators", "comparisons", "quarantine"), "annotators": ("label_weights",)}
"""Steps whose artifacts can name an annotator."""
MODELS = ("reward-model", "policy")
NOT_COVERED = (
    "Backups and remotes of DVC are not reached from here: run `dvc gc` there. What trained weights remember of a label is not "
    "removed; the models listed are to be retrained or kept by a recorded decision."
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
        person.pseudonym for person in people if person.retained_until and datetime.fromisoformat(person.retained_until) < now
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
        holding = list(_holding(lineage, name)) if lineage else []
        if not tables.changed and not holding:
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
    tags = {"plumbline.erased_at": datetime.now(UTC).isoformat(timespec="seconds")}
    models = _revoke(lineage, {item.run for item in holding}, tags) if lineage else []
    for item in holding:
        assert lineage is not None
        lineage.withdraw(item, at=tags["plumbline.erased_at"])
    report: dict[str, Any] = {
        "person": digest(pseudonym),
        "erased_at": tags["plumbline.erased_at"],
        "by": by,
        "labels": labels,
        "rows_changed": tables.changed,
        "cached_files_deleted": dropped,
        "pinned": pin,
        "artifacts_deleted": sorted(f"{item.step}/{item.name} of run {item.run}" for item in holding),
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


def _pin(data: Path) -> str:
    """The new version's digest, or why it was not pinned."""
    command = [sys.executable, "-m", "dvc", "add", "-q", data.name]
    done = subprocess.run(command, cwd=data.resolve().parent, capture_output=True, text=True, check=False)
    if done.returncode:
        return "not pinned: no DVC repository here"
    return folder_md5(data)


def _holding(lineage: Lineage, name: Name) -> Iterator[Published]:
    """Published artifacts that name the person."""
    for step, artifacts in HOLDING.items():
        filters = f"tags.`plumbline.step` = '{step}' and attributes.status = 'FINISHED'"
        for run in lineage.client.search_runs([lineage.experiment], filters, max_results=1000):
            if "plumbline.reused_from" in run.data.tags:
                continue
            for artifact, item in lineage.outputs(run).items():
                if artifact in artifacts and f"plumbline.withdrawn.{artifact}" not in run.data.tags:
                    folder = lineage.fetch(item)
                    if any(map(name.stands_in_file, files_of(folder))):
                        yield item


def _revoke(lineage: Lineage, runs: set[str], tags: dict[str, str]) -> list[dict[str, str]]:
    """Tag every registered model of a pipeline run that read one of the runs' artifacts; what was done to each."""
    found = []
    for model in MODELS:
        for version in lineage.client.search_model_versions(f"name = '{model}'"):
            pipeline = lineage.client.get_run(version.run_id).data.tags.get("plumbline.pipeline_run", "")
            steps = (lineage.step_run(pipeline, step) for step in HOLDING)
            if not any(run is not None and run.info.run_id in runs for run in steps):
                continue
            done = {"model": model, "version": str(version.version), "done": "tagged"}
            for name, value in tags.items():
                lineage.client.set_model_version_tag(model, version.version, name, value)
            if model == "reward-model":
                lineage.client.set_model_version_tag(model, version.version, "plumbline.state", "revoked")
                reason = "labels of an annotator who was erased"
                lineage.client.set_model_version_tag(model, version.version, "plumbline.state_reason", reason)
                done["done"] = "revoked"
            found.append(done)
    return found
