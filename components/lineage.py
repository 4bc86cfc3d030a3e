"""The wire between steps, and the only module that imports MLflow: find inputs, publish outputs, register versions.

    experiment `plumbline`
    └── pipeline run        tag plumbline.pipeline_run = ID;  artifact config.json
        ├── step run        tags plumbline.step, .step_key;   artifacts outputs/NAME, manifest.json, evidence.json, STEP.link
        └── step run …      a reused step: tag plumbline.reused_from = RUN, nothing else

A step run that is not FINISHED does not exist for anyone downstream. Outputs that are models are MLflow LoggedModels, so
that the UI draws who was trained from what; they become READY, and get their registered version, only after the run is
finished. Doing that twice changes nothing, so a step killed in between mends itself when it is run again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from components import away
from components.context import ModelVersion, Published
from components.errors import ArtifactRefused
from components.provenance import folder_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlflow.entities import Run

    from components.catalog import Step
    from components.context import Context

EXPERIMENT = "plumbline"
CONFIG = "config.json"
BATCH = 900
"""Metrics in one request; MLflow takes at most 1,000."""
DATASET_DIGEST_CHARS = 32
T = TypeVar("T")
answering = partial(away.answering, errors=(MlflowException, OSError))


class Lineage:
    """One MLflow, seen as the lineage of pipeline runs."""

    def __init__(self, uri: str, *, artifacts: str | None = None) -> None:
        """Connect.

        Args:
            uri: MLflow tracking URI; also the registry's.
            artifacts: Where a new experiment keeps artifacts; the server's choice if None.

        Raises:
            TryAgain: MLflow does not answer.
        """
        self.uri = uri
        for name, value in (away.PATIENCE | {"MLFLOW_TRACKING_URI": uri}).items():
            os.environ.setdefault(name, value)
        with answering(uri):
            self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self.experiment = self._experiment(artifacts)

    def _experiment(self, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(EXPERIMENT, artifact_location=artifacts))
        except MlflowException:
            found = self.client.get_experiment_by_name(EXPERIMENT)  # somebody else was faster
            if found is None:
                raise
            return str(found.experiment_id)

    # ---- pipeline runs

    def find_pipeline(self, pipeline_run: str) -> Run | None:
        """The MLflow run of a pipeline run, or None."""
        found = self._search({"plumbline.pipeline_run": pipeline_run, "plumbline.kind": "pipeline"})
        return found[0] if found else None

    def pipeline(self, pipeline_run: str) -> Run:
        """The MLflow run of a pipeline run.

        Raises:
            ArtifactRefused: There is none; `start` did not run.
        """
        found = self.find_pipeline(pipeline_run)
        if found is None:
            message = f"MLflow at {self.uri} has no pipeline run {pipeline_run!r}. Run `start` first, or correct the id."
            raise ArtifactRefused(message)
        return found

    def open_pipeline(self, pipeline_run: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Run:
        """The pipeline run with its config logged; an existing one of the same id stays as it is, if its config was logged."""
        run = self.find_pipeline(pipeline_run)
        if run is not None and any(file.path == CONFIG for file in self.client.list_artifacts(run.info.run_id)):
            return run
        if run is None:
            own = {"plumbline.pipeline_run": pipeline_run, "plumbline.kind": "pipeline"}
            run = self._made(pipeline_run, own, tags)
        self.client.log_dict(run.info.run_id, dict(config), CONFIG)
        return run

    def _made(self, name: str, own: Mapping[str, str], tags: Mapping[str, str]) -> Run:
        """A new run that no other shares its own tags with and is RUNNING.

        A server that dies before it answers has made the run already, and the client asks once more.
        """
        run = self.client.create_run(self.experiment, run_name=name, tags={**own, **tags})
        for other in self._search(own, status="RUNNING"):
            if other.info.run_id != run.info.run_id:
                self.client.delete_run(other.info.run_id)
        return run

    def config(self, pipeline_run: str) -> dict[str, Any]:
        """The config that `start` logged."""
        run = self.pipeline(pipeline_run)
        values: dict[str, Any] = json.loads(self.file(run, CONFIG).read_text(encoding="utf-8"))
        return values

    def mark_pipeline(self, pipeline_run: str, status: str, **tags: str) -> None:
        """Set the pipeline run's status (`RUNNING`, `FINISHED`, `FAILED`) and tags."""
        run = self.find_pipeline(pipeline_run)
        if run is None:
            return
        self.client.log_batch(run.info.run_id, tags=[RunTag(f"plumbline.{name}", value) for name, value in tags.items()])
        if status == "RUNNING":
            self.client.update_run(run.info.run_id, status=status)
        else:
            self.client.set_terminated(run.info.run_id, status)

    # ---- finding

    def step_run(self, pipeline_run: str, step: str) -> Run | None:
        """The newest finished run of `step` in the pipeline run; the run it stands for, where it was reused."""
        found = self._search({"plumbline.pipeline_run": pipeline_run, "plumbline.step": step}, status="FINISHED")
        if not found:
            return None
        original = found[0].data.tags.get("plumbline.reused_from")
        return self.client.get_run(original) if original else found[0]

    def reusable(self, key: str) -> Run | None:
        """The newest finished run with this step key, if any."""
        for run in self._search({"plumbline.step_key": key}, status="FINISHED"):
            if "plumbline.reused_from" not in run.data.tags:
                return run
        return None

    def outputs(self, run: Run) -> dict[str, Published]:
        """What a finished step run published, by artifact name."""
        manifest = json.loads(self.file(run, "manifest.json").read_text(encoding="utf-8"))
        return {name: Published(**entry) for name, entry in manifest["outputs"].items()}

    def find_output(self, pipeline_run: str, step: str, artifact: str) -> Published:
        """The artifact that `step` published in this pipeline run.

        Raises:
            ArtifactRefused: The step has not finished there.
        """
        run = self.step_run(pipeline_run, step)
        if run is None:
            message = (
                f"{artifact} is not there: `{step}` has not finished in the pipeline run {pipeline_run!r}. "
                f"Run `{step}` first; an input that was not logged can't be used."
            )
            raise ArtifactRefused(message)
        return self.outputs(run)[artifact]

    def fetch(self, artifact: Published) -> Path:
        """The artifact's folder on this machine, not yet checked; refused if gone."""
        message = f"{artifact.name} of run {artifact.run} is not in the artifact store. Run `{artifact.step}` again."
        return Path(self.kept(lambda: download_artifacts(artifact_uri=artifact.uri, tracking_uri=self.uri), message))

    def file(self, run: Run, name: str) -> Path:
        """A file that a step run logged beside its outputs: `manifest.json`, `evidence.json` or its link. Refused if gone."""
        message = (
            f"{name} of run {run.info.run_id} is not in the artifact store. Restore it, or take the alias from its version."
        )
        return Path(self.kept(lambda: self.client.download_artifacts(run.info.run_id, name), message))

    def kept(self, find: Callable[[], T], message: str, *, again: bool = True) -> T:
        """What is found, at the second try if need be; refused where it is gone. A server that is away stays what it is."""
        try:
            return find()
        except (MlflowException, OSError):
            self.client.get_experiment(self.experiment)  # waits, then fails, where it is the server that is away
            if again:
                return self.kept(find, message, again=False)
            raise ArtifactRefused(message) from None

    def _search(self, tags: Mapping[str, str], *, status: str | None = None) -> list[Run]:
        terms = [f"tags.`{name}` = '{_quoted(value)}'" for name, value in tags.items()]
        terms += [f"attributes.status = '{status}'"] if status else []
        order = ["attributes.start_time DESC"]
        return list(self.client.search_runs([self.experiment], " and ".join(terms), order_by=order, max_results=200))

    # ---- step runs

    def open_step(self, pipeline_run: str, step: str, key: str, tags: Mapping[str, str]) -> Run:
        """A new child run. Earlier attempts with the same key that died are marked KILLED first."""
        dead = self._search({"plumbline.step_key": key}, status="RUNNING")
        for run in dead:
            self.client.set_terminated(run.info.run_id, "KILLED")
            for output in run.outputs.model_outputs if run.outputs else []:
                self.client.delete_logged_model(output.model_id)
        attempt = {"plumbline.step_key": key, "plumbline.attempt": str(len(self._search({"plumbline.step_key": key})) + 1)}
        return self._child(pipeline_run, step, attempt, tags)

    def reuse(self, pipeline_run: str, step: str, run: Run) -> Run:
        """A child run that says: `run` stands in for this step."""
        tags = {"plumbline.reused_from": run.info.run_id, "plumbline.step_key": run.data.tags["plumbline.step_key"]}
        child = self._child(pipeline_run, step, tags, {})
        self.client.set_terminated(child.info.run_id, "FINISHED")
        return child

    def _child(self, pipeline_run: str, step: str, own: Mapping[str, str], tags: Mapping[str, str]) -> Run:
        parent = self.pipeline(pipeline_run).info.run_id
        base = {"plumbline.pipeline_run": pipeline_run, "plumbline.step": step, "mlflow.parentRunId": parent}
        return self._made(step, base | dict(own), tags)

    def log_inputs(self, run: Run, inputs: Mapping[str, Published]) -> None:
        """Record what the run reads, as datasets and models, so that the UI draws the graph."""
        datasets = [
            DatasetInput(
                Dataset(item.name, item.digest.removeprefix("sha256:")[:DATASET_DIGEST_CHARS], "plumbline", _source(item)),
                [InputTag("mlflow.data.context", item.step)],
            )
            for item in inputs.values()
            if not item.model_id
        ]
        models = [LoggedModelInput(item.model_id) for item in inputs.values() if item.model_id]
        self.client.log_inputs(run.info.run_id, datasets=datasets, models=models)

    def log_settings(self, run: Run, settings: Mapping[str, Any]) -> None:
        """Log settings as params."""
        self.client.log_batch(run.info.run_id, params=[Param(name, str(value)[:6000]) for name, value in settings.items()])

    def log_numbers(self, run: Run, context: Context[Any], seconds: Mapping[str, float]) -> None:
        """Log measurements, curves and the time spent, in as few requests as MLflow takes."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, item.value, now, 0) for name, item in context.measurements.items()]
        metrics += [Metric(name, value, now, at) for at, values in context.series for name, value in values.items()]
        metrics += [Metric(f"seconds_{name}", value, now, 0) for name, value in seconds.items()]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run.info.run_id, metrics=metrics[start : start + BATCH])

    def publish(self, run: Run, step: Step, name: str, folder: Path, files: Mapping[str, str], digest: str) -> Published:
        """Copy one output into the artifact store. Nobody finds it before the run is finished."""
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        model_id, registered = "", step.registers.get(name, "")
        if registered:
            tags = {"plumbline.digest": digest}
            model = self.client.create_logged_model(self.experiment, name, run.info.run_id, tags, model_type=registered)
            model_id = model.model_id
            self.client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, 0)])
            self.client.log_model_artifacts(model_id, str(folder))
            uri = str(model.artifact_location)
        else:
            self.client.log_artifacts(run.info.run_id, str(folder), f"outputs/{name}")
            uri = f"{run.info.artifact_uri.rstrip('/')}/outputs/{name}"
        return Published(name, digest, dict(files), size, step.name, run.info.run_id, uri, model_id, registered)

    def log_files(self, run: Run, folder: Path) -> None:
        """Log the files of a folder at the top of the run's artifacts."""
        self.client.log_artifacts(run.info.run_id, str(folder))

    def finish(self, run: Run, tags: Mapping[str, str]) -> None:
        """Mark the run finished: from here on its outputs exist."""
        self.client.log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def fail(self, run: Run, reason: str) -> None:
        """Mark the run failed, with the reason."""
        self.client.set_tag(run.info.run_id, "plumbline.error", reason[:4000])
        self.client.set_terminated(run.info.run_id, "FAILED")

    def withdraw(self, item: Published, *, at: str) -> None:
        """Delete an artifact for good, say so on its run, and let the run stand in for no other.

        Args:
            item: What goes.
            at: When, RFC 3339.
        """
        get_artifact_repository(item.uri, self.uri).delete_artifacts("")
        shutil.rmtree(item.uri.removeprefix("file://"), ignore_errors=True)  # what a local store leaves: the empty folder
        self.client.set_tag(item.run, f"plumbline.withdrawn.{item.name}", at)
        if "plumbline.step_key" in self.client.get_run(item.run).data.tags:
            self.client.delete_tag(item.run, "plumbline.step_key")

    # ---- registered models

    def register(self, run: Run, published: Mapping[str, Published], tags: Mapping[str, Mapping[str, str]]) -> None:
        """Make the run's models READY and give each its registered version. Twice is as good as once."""
        for item in published.values():
            if not item.registered_model:
                continue
            if self.client.get_logged_model(item.model_id).status != LoggedModelStatus.READY:
                self.client.finalize_logged_model(item.model_id, LoggedModelStatus.READY)
            if not self._versions_of_run(item.registered_model, run.info.run_id):
                self._create_version(run, item, tags.get(item.name, {}))

    def _create_version(self, run: Run, item: Published, tags: Mapping[str, str]) -> None:
        try:
            self.client.create_registered_model(item.registered_model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = {"plumbline.digest": item.digest, "plumbline.step_key": run.data.tags["plumbline.step_key"]}
        self.client.create_model_version(
            item.registered_model,
            source=f"models:/{item.model_id}",
            run_id=run.info.run_id,
            model_id=item.model_id,
            tags=known | {f"plumbline.{name}": value for name, value in tags.items()},
        )
        _, *superfluous = self._versions_of_run(item.registered_model, run.info.run_id)  # as in `_made`
        for version in superfluous:
            self.client.delete_model_version(item.registered_model, version)

    def _versions_of_run(self, model: str, run_id: str) -> list[str]:
        """Oldest first."""
        found = self.client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
        return sorted((str(version.version) for version in found), key=int)

    def version(self, item: Published) -> str:
        """The registered version of a published model."""
        return next(iter(self._versions_of_run(item.registered_model, item.run)), "")

    def resolve(self, model: str, alias: str) -> ModelVersion | None:
        """The version that `alias` of `model` points to, fetched and digest-checked, or None.

        Raises:
            ArtifactRefused: The version's files are not those that were registered.
        """
        try:
            version = self.client.get_model_version_by_alias(model, alias)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:  # of a model, of an alias
                raise
            return None
        recorded = version.tags.get("plumbline.digest", "")
        message = f"{model} version {version.version} ({alias}) has no files any more. Restore them, or take the alias from it."
        path = Path(self.kept(lambda: download_artifacts(artifact_uri=version.source, tracking_uri=self.uri), message))
        found = folder_digest(path)
        if found != recorded:
            message = (
                f"{model} version {version.version} ({alias}) has digest {found}, registered was {recorded}. "
                "Restore the artifact or move the alias; never edit a published artifact."
            )
            raise ArtifactRefused(message)
        base = version.tags.get("plumbline.base_digest", "")
        return ModelVersion(model, str(version.version), recorded, path, base)

    def move(self, model: str, alias: str, version: str) -> None:
        """Point `alias` of `model` to `version`."""
        self.client.set_registered_model_alias(model, alias, version)

    def mark_by_base(self, model: str, base_digest: str) -> None:
        """Tag every version of `model` as `active` for this base model or `stale`; one marked `revoked` stays so."""
        for version in self.client.search_model_versions(f"name = '{model}'"):
            state = "active" if version.tags.get("plumbline.base_digest") == base_digest else "stale"
            if version.tags.get("plumbline.state", "") not in {state, "revoked"}:
                self.client.set_model_version_tag(model, version.version, "plumbline.state", state)

    def remove(self, model: str, alias: str) -> None:
        """Take the alias away; nothing happens where there is none."""
        try:
            self.client.delete_registered_model_alias(model, alias)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def _quoted(value: str) -> str:
    return value.replace("'", "\\'")


def _source(item: Published) -> str:
    return json.dumps({"step": item.step, "run": item.run, "artifact": item.name, "digest": item.digest})
