"""What a step leaves beside its outputs: manifest, evidence and signed link. Filled in by the entrypoint."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from components import provenance
from components.evidence import Artifact, Evidence
from components.stepkey import ROOT, code_digest, lock_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow.entities import Run

    from components.context import Context, ModelVersion, Published
    from components.entrypoint import Job
    from components.lineage import Lineage

PACKAGES = (
    "accelerate",
    "apache-airflow",
    "datasets",
    "dvc",
    "evidently",
    "great-expectations",
    "in-toto",
    "mlflow",
    "numpy",
    "pandas",
    "peft",
    "pydantic",
    "scikit-learn",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
)
"""Packages whose versions shape results. The whole environment is pinned by the lock file, whose digest is kept too."""


class Versions:
    """The registry as a step may use it: see `components.context.Registry`."""

    def __init__(self, lineage: Lineage, inputs: Mapping[str, Published]) -> None:
        self._lineage = lineage
        self._inputs = inputs

    def resolve(self, model: str, alias: str) -> ModelVersion | None:
        """The version that `alias` points to, or None."""
        return self._lineage.resolve(model, alias)

    def move(self, model: str, alias: str, version: str) -> None:
        """Point `alias` to `version`."""
        self._lineage.move(model, alias, version)

    def remove(self, model: str, alias: str) -> None:
        """Take the alias away."""
        self._lineage.remove(model, alias)

    def version_of(self, model: str) -> str:
        """The version of `model` that this pipeline run produced.

        Raises:
            KeyError: The step does not read such a model.
        """
        for item in self._inputs.values():
            if item.registered_model == model:
                return self._lineage.version(item)
        raise KeyError(model)


def code_state() -> dict[str, Any]:
    """Git commit of the code and whether it was changed since; from the image's labels where there is no git."""
    commit = os.environ.get("PLUMBLINE_COMMIT") or _git("rev-parse", "HEAD")
    return {"commit": commit or "not recorded", "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*words: str) -> str:
    command = ["git", "-C", str(ROOT), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def environment(signer: provenance.Functionary) -> dict[str, Any]:
    """Where the step runs, as far as it shapes results or trust."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": _device(),
        "image_digest": os.environ.get("PLUMBLINE_IMAGE_DIGEST", ""),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "key": signer.origin,
        "key_id": signer.key_id,
    }


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "cpu"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def write_beside(
    job: Job, run: Run, context: Context[Any], published: Mapping[str, Published], signer: provenance.Functionary
) -> Path:
    """Write manifest, evidence and link into a folder of their own, to be logged together."""
    folder = context.scratch / "beside"
    folder.mkdir(exist_ok=True)
    manifest = {"outputs": {name: asdict(item) for name, item in published.items()}}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    evidence = _evidence(job, run, context, published, signer)
    (folder / "evidence.json").write_text(evidence.to_json(), encoding="utf-8")
    provenance.write_link(
        folder / f"{job.step.name}.link",
        step=job.step.name,
        signer=signer,
        materials={name: item.files for name, item in job.inputs.items()},
        products={name: item.files for name, item in published.items()},
        command=["python", "-m", f"components.{job.step.name}", "--pipeline-run", job.pipeline_run],
        environment={
            "step_key": job.key,
            "evidence": provenance.file_digest(folder / "evidence.json"),
            "code": evidence.code,
            "image_digest": evidence.environment["image_digest"],
        },
    )
    return folder


def listed_tables(published: Mapping[str, Published]) -> dict[str, str]:
    """The tag by which MLflow's UI knows that a run has tables, so that versions compare side by side; none without tables."""
    paths = [
        f"outputs/{name}/{file}"
        for name, item in published.items()
        if not item.model_id
        for file in sorted(item.files)
        if file.startswith("tables/") and file.endswith(".json")
    ]
    return {"mlflow.loggedArtifacts": json.dumps([{"path": path, "type": "table"} for path in paths])} if paths else {}


def _evidence(
    job: Job, run: Run, context: Context[Any], published: Mapping[str, Published], signer: provenance.Functionary
) -> Evidence:
    now = datetime.now(UTC)
    seconds = {name: round(value, 3) for name, value in job.clock.seconds.items()}
    return Evidence(
        step=job.step.name,
        pipeline_run=job.pipeline_run,
        run=run.info.run_id,
        step_key=job.key,
        attempt=int(run.data.tags.get("plumbline.attempt", "1")),
        code=code_state() | {"digest": code_digest(job.step.name), "lock_digest": lock_digest()},
        seed=job.config.seed,
        settings=job.settings,
        inputs={name: _artifact(item) for name, item in job.inputs.items()},
        outputs={name: _artifact(item) for name, item in published.items()},
        measurements={
            name: {part: value for part, value in asdict(item).items() if value is not None}
            for name, item in context.measurements.items()
        },
        facts=context.facts,
        gaps=context.gaps,
        external=job.external,
        environment=environment(signer),
        times={
            "started_at": datetime.fromtimestamp(job.clock.started_at, UTC).isoformat(timespec="seconds"),
            "finished_at": now.isoformat(timespec="seconds"),
            "seconds": seconds,
        },
    )


def candidate(job: Job, pack: Path, digest: str, mlflow_run: str) -> dict[str, Any]:
    """What an approver is shown of a candidate, and by which rule he decides."""
    path = pack / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rule = job.config.sections["approve"].model_dump(mode="json")
    return {"summary": summary, "pack": digest, "mlflow_run": mlflow_run, "rule": rule}


def describe(job: Job, run: Run, published: Mapping[str, Published], context: Context[Any]) -> None:
    """Where the step publishes a release, tell whoever looks at the model's version in MLflow where its pack is."""
    if "release" not in published:
        return
    version = job.lineage.version(job.inputs["policy_adapter"])
    ui = os.environ.get("PLUMBLINE_MLFLOW_UI") or "http://127.0.0.1:5000"
    page = f"{ui}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/outputs/release/pack/index.html"
    text = f"Released. Governance pack: {page}"
    job.lineage.client.update_model_version("policy", version, description=text)
    tags = {"plumbline.pack": page, "plumbline.manifest": str(context.facts.get("manifest", ""))}
    for name, value in tags.items():
        job.lineage.client.set_model_version_tag("policy", version, name, value)


def _artifact(item: Published) -> Artifact:
    return Artifact(item.digest, item.run, item.step, item.bytes, len(item.files), item.registered_model)
