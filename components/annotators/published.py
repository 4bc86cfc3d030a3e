"""What MLflow holds of a person: artifacts of all runs, messages of failed ones, and models trained on the person's labels.

An artifact can't be mended, as its digest is signed: it goes as a whole. What then stays with its run is whom else it held, as
digests, so that the models trained on it are found when one of them is erased too.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from components import history
from components.annotators.traces import Name, digest, files_of, owners
from components.context import Published

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from components.lineage import Lineage

HOLDING = {"validate": ("annotators", "comparisons", "quarantine"), "annotators": ("label_weights",)}
"""Steps whose artifacts can name an annotator."""
MODELS = ("reward-model", "policy")
OUTPUTS = "outputs"
WITHDRAWN = "withdrawn_people.json"
"""Beside a run's outputs: digests of the people whose data its withdrawn artifacts held."""
CLEARED = "The message named a person who was erased."
SQLITE = "sqlite:///"
VACUUM_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Holding:
    """A run that holds, or held until others were erased, a person's data."""

    run: str
    naming: list[Published]
    """Artifacts that name the person."""
    others: frozenset[str]
    """Digests of everybody else whose rows these artifacts hold, or those withdrawn before held."""


def holdings(lineage: Lineage, name: Name) -> Iterator[Holding]:
    """The runs that hold or held a person's data, whether they finished or not."""
    person = digest(name.pseudonym)
    for step, artifacts in HOLDING.items():
        for run in history.runs(lineage, f"tags.`plumbline.step` = '{step}'"):
            held = _withdrawn_people(lineage, run)
            is_known, naming = person in held, []
            for item in _stored(lineage, run):
                if item.name in artifacts:
                    with TemporaryDirectory() as folder:
                        files = files_of(Path(lineage.client.download_artifacts(item.run, f"{OUTPUTS}/{item.name}", folder)))
                        if any(map(name.stands_in_file, files)):
                            naming.append(item)
                            held |= {digest(owner) for path in files if path.suffix == ".jsonl" for owner in owners(path)}
            if naming or is_known:
                yield Holding(run.info.run_id, naming, frozenset(held - {person}))


def withdraw(lineage: Lineage, holding: Holding, *, at: str) -> None:
    """Delete a run's artifacts that name a person, and keep with it whom else they held."""
    lineage.client.log_dict(holding.run, {"people": sorted(holding.others)}, WITHDRAWN)
    for item in holding.naming:
        lineage.withdraw(item, at=at)


def errors_naming(lineage: Lineage, name: Name) -> list[str]:
    """Failed runs whose message names a person."""
    failed = history.runs(lineage, "tags.`plumbline.error` LIKE '%'")
    return [run.info.run_id for run in failed if name.stands_in(run.data.tags["plumbline.error"].encode())]


def clear_errors(lineage: Lineage, runs: Collection[str]) -> None:
    """Put a sentence in the place of the messages of failed runs.

    An SQLite file may keep what was overwritten in its free space, so it is written anew.
    """
    for run in runs:
        lineage.client.set_tag(run, "plumbline.error", CLEARED)
    if runs and lineage.uri.startswith(SQLITE):
        with closing(sqlite3.connect(lineage.uri.removeprefix(SQLITE), timeout=VACUUM_TIMEOUT_SECONDS)) as database:
            database.execute("VACUUM")


def revoke(lineage: Lineage, runs: set[str], tags: Mapping[str, str]) -> list[dict[str, str]]:
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


def _stored(lineage: Lineage, run: Any) -> list[Published]:
    """What the store holds of a run's outputs; of one that never finished nobody knows digests."""
    step, root = run.data.tags["plumbline.step"], str(run.info.artifact_uri).rstrip("/")
    paths = [entry.path for entry in lineage.client.list_artifacts(run.info.run_id, OUTPUTS)]
    return [Published(Path(path).name, "", {}, 0, step, run.info.run_id, f"{root}/{path}") for path in paths]


def _withdrawn_people(lineage: Lineage, run: Any) -> set[str]:
    if all(entry.path != WITHDRAWN for entry in lineage.client.list_artifacts(run.info.run_id)):
        return set()
    return set(json.loads(lineage.file(run, WITHDRAWN).read_text(encoding="utf-8"))["people"])
