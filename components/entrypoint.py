"""The step contract: config → inputs → work → outputs → evidence → exit code.

`python -m components.STEP --pipeline-run ID` is the whole interface, the same in a process, a container and a pod.

    1. load the pipeline run's logged config; refuse bad settings before anything heavy is imported
    2. find the declared inputs by lineage; check their digests and their writers' signatures
    3. compute the step key; where a finished run has the same one, let it stand in
    4. open a child run, call the step's `run(context)`
    5. hash and publish the outputs, write manifest and evidence, sign the link, then mark the run finished
    6. exit 0, or print one paragraph on stderr: what is wrong, where, what to do

Where things are comes from the environment (infra/README.md lists it): MLFLOW_TRACKING_URI, PLUMBLINE_ARTIFACTS,
PLUMBLINE_SCRATCH, PLUMBLINE_KEYS. What is trained never does. A killed step leaves a run that is not finished, which
nobody downstream sees; run again, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import importlib
import json
import os
import shutil
import signal
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import accounting, history, provenance, quiet, ranks, record, states, trust
from components import config as settings
from components.catalog import ALIGN, STEPS, Step, writer
from components.clock import Clock, since_spawn
from components.context import Context
from components.errors import ArtifactRefused, DataRefused, GateFailed, PlumblineError, TryAgain
from components.stepkey import step_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow.entities import Run

    from components.context import ModelVersion, Origin, Predecessor, Published, Reference, Release
    from components.lineage import Lineage


@dataclass
class Job:
    """One attempt at one step."""

    step: Step
    pipeline_run: str
    lineage: Lineage
    config: settings.Config
    external: Mapping[str, Any]
    clock: Clock
    inputs: dict[str, Published] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    evidence_files: dict[str, Path] = field(default_factory=dict)
    baseline: ModelVersion | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)
    reference: Reference | None = None
    compared: dict[str, Published] = field(default_factory=dict)
    predecessor: Predecessor | None = None
    releases: list[Release] = field(default_factory=list)
    earlier: list[Path] = field(default_factory=list)
    key: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The step's section of the config and the shared ones that it reads, defaults included."""
        own: dict[str, Any] = self.config.sections[self.step.name].model_dump(mode="json")
        return own | {name: self.config.sections[name].model_dump(mode="json") for name in self.step.sections}


def main(name: str) -> None:
    """Run the step `name` with the command line's arguments, and exit with its code."""
    arguments = argparse.ArgumentParser(prog=f"python -m components.{name}")
    arguments.add_argument("--pipeline-run", required=True, help="id of the pipeline run; chosen by whoever triggers it")
    arguments.add_argument("--fresh", action="store_true", help="run the step even if a finished run has the same key")
    options = arguments.parse_args()
    sys.exit(run(name, options.pipeline_run, fresh=options.fresh))


def run(name: str, pipeline_run: str, *, fresh: bool = False) -> int:
    """Run one step and say with which code to exit; errors are one paragraph on stderr."""
    quiet.settle()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        if ranks.here().leads:
            _run(STEPS[name], pipeline_run, fresh=fresh)
        else:
            ranks.follow(STEPS[name], pipeline_run)
    except PlumblineError as error:
        return _complain(f"{type(error).__name__}: {error}", error.exit_code)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            traceback.print_exc()
            return _complain(f"{name} stopped: {error}. This is not a state that Plumbline expects; please report it.", 1)
        where = error.filename or scratch_root()
        text = f"TryAgain: the disk that holds {where} is full. Free some space and run `{name}` again; nothing was lost."
        return _complain(text, TryAgain.exit_code)
    except Exception as error:  # noqa: BLE001  (the one place; everything else would be a bare traceback)
        traceback.print_exc()
        return _complain(f"{name} stopped: {error!r}. This is not a state that Plumbline expects; please report it.", 1)
    return 0


def scratch_root() -> Path:
    """Folder for attempts, checkpoints and locks."""
    return Path(os.environ.get("PLUMBLINE_SCRATCH", ".plumbline/scratch")).absolute()


def keys_root() -> Path:
    """Folder of the functionary keys."""
    return Path(os.environ.get("PLUMBLINE_KEYS", ".plumbline/keys")).absolute()


def _complain(text: str, code: int) -> int:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  (the contract: one paragraph on stderr)
    return code


def _run(step: Step, pipeline_run: str, *, fresh: bool) -> None:
    clock = Clock()
    clock.seconds["startup"] = since_spawn()
    with clock.phase("startup"):
        from components.lineage import Lineage, answering  # noqa: PLC0415  (1 to 4 s import)

        external = _external(step)
        uri = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///.plumbline/mlflow.db")
        config = settings.load(external["params"], where="the trigger") if step.name == "start" else None
    with answering(uri):
        with clock.phase("input"):
            lineage = Lineage(uri, artifacts=os.environ.get("PLUMBLINE_ARTIFACTS"))
            config = config or settings.load(lineage.config(pipeline_run), where="the logged config")
            job = Job(step, pipeline_run, lineage, config, external, clock)
            _open(job)
            _find_inputs(job)
        finished = None if fresh else _reusable(job)
        try:
            if finished:
                ranks.dismiss(step)
                refusal = _stand_in(job, finished)
            else:
                with _lock(job):
                    refusal = _attempt(job)
        except BaseException:
            lineage.mark_pipeline(pipeline_run, "FAILED")
            raise
        if step.promotes or step not in ALIGN:
            lineage.mark_pipeline(pipeline_run, "FINISHED")
    if refusal:
        raise GateFailed(refusal)


def _external(step: Step) -> dict[str, Any]:
    """What comes from outside the pipeline, and only to the steps that may know it."""
    names = {"start": ("params", "trigger"), "approve": ("answer",)}.get(step.name, ())
    return {name: json.loads(os.environ.get(f"PLUMBLINE_{name.upper()}") or "{}") for name in names}


def _open(job: Job) -> None:
    if job.step.name == "start":
        trigger = job.external["trigger"]
        code = record.code_state()
        tags = {
            "plumbline.trigger": str(trigger.get("type", "command line")),
            "plumbline.triggered_by": str(trigger.get("by") or ""),
            "plumbline.commit": str(code["commit"]),
        }
        job.lineage.open_pipeline(job.pipeline_run, job.config.dump(), tags)
        job.external = {"trigger": trigger, "config": job.config.dump()}
    else:
        job.lineage.mark_pipeline(job.pipeline_run, "RUNNING")


def _find_inputs(job: Job) -> None:
    for name in job.step.reads:
        found = job.lineage.find_output(job.pipeline_run, writer(name).name, name)
        job.inputs[name], job.paths[name] = found, history.checked(job.lineage, found)
    if job.step.reads_evidence:
        versions = {item.registered_model: job.lineage.version(item) for item in _models(job).values()}
        job.evidence_files, told = history.gathered(job.lineage, job.pipeline_run, job.step, versions)
        job.external = dict(job.external) | told
    if job.step.challenges:
        job.baseline = history.champion(job.lineage, job.step.challenges, job.inputs)
        job.origins = history.origins(job.lineage, job.inputs)
    if job.step.compares:
        job.reference, job.compared = history.reference(job.lineage, job.pipeline_run, job.step)
    if job.step.succeeds:
        base = job.inputs["base_model"].digest
        job.predecessor = history.predecessor(job.lineage, job.step.registers[job.step.succeeds], base_digest=base)
    if job.step.looks_back_at:
        job.releases = history.releases(job.lineage, job.step.looks_back_at, but=job.inputs["policy_adapter"].digest)
    if job.step.verifies:
        job.external = dict(job.external) | trust.verified(job, keys_root())
    if job.step.needs_active:
        job.external = dict(job.external) | {"states": states.require_active(job.lineage, job.step, job.inputs, job.config)}
    job.key = step_key(job.step.name, settings=job.settings, seed=job.config.seed, inputs=_key_inputs(job))
    _look_back(job)


def _look_back(job: Job) -> None:
    """What a report is compared with, which is no part of the step key."""
    if job.step.compares_with:
        job.baseline = states.newest_active(job.lineage, job.step.compares_with, but=job.key)
    if job.step.remembers:
        job.earlier = history.earlier(job.lineage, job.step.remembers, but=job.key)


def _models(job: Job) -> dict[str, Published]:
    found = job.lineage.find_output
    return {name: found(job.pipeline_run, step.name, name) for step in ALIGN for name in step.registers}


def _key_inputs(job: Job) -> dict[str, str]:
    digests = {name: item.digest for name, item in job.inputs.items()}
    if job.step.challenges:
        digests["baseline"] = job.baseline.digest if job.baseline else ""
        if job.baseline and job.baseline.base:
            digests["baseline's base_model"] = job.baseline.base_digest
    digests |= {f"reference:{name}": item.digest for name, item in job.compared.items()}
    if job.predecessor:
        digests["predecessor"] = job.predecessor.digest
    digests |= {f"release:{each.version}": each.artifact_digest for each in job.releases}
    for name, path in job.evidence_files.items():
        step = STEPS.get(name.removesuffix(".json"))
        if name.startswith("previous/") or (step and step.reusable):
            digests[f"evidence:{name}"] = provenance.file_digest(path)
    if not job.step.reusable:
        digests["pipeline_run"] = job.pipeline_run
        digests["external"] = json.dumps(job.external, sort_keys=True)
    return digests


def _reusable(job: Job) -> Run | None:
    """A finished run with the same key whose signature and outputs still check; None where there is none."""
    found = job.lineage.reusable(job.key)
    if found is None:
        return None
    outputs = job.lineage.outputs(found)
    signer = provenance.functionary(job.step.name, keys_root())
    try:
        products = {name: item.files for name, item in outputs.items()}
        provenance.verify_link(job.lineage.file(found, f"{job.step.name}.link"), signer=signer, products=products)
        for item in outputs.values():
            history.checked(job.lineage, item)
    except ArtifactRefused as error:
        _say(f"not reusing run {found.info.run_id}: {error}")
        return None
    return found


def _stand_in(job: Job, found: Run) -> str:
    with job.clock.phase("logging"):
        tags = json.loads(found.data.tags.get("plumbline.artifact_tags", "{}"))
        job.lineage.register(found, job.lineage.outputs(found), tags)
        if found.data.tags["plumbline.pipeline_run"] != job.pipeline_run:
            child = job.lineage.reuse(job.pipeline_run, job.step.name, found)
            job.lineage.log_inputs(child, job.inputs)
        _promote(job)
    _say(f"reused {job.step.name} {found.info.run_id}")
    _announce(job, found)
    return found.data.tags.get("plumbline.gate_failed", "")


def _attempt(job: Job) -> str:
    """One attempt, under the step's lock. Returns why the gate failed, if it did."""
    commands = {"plumbline.image_digest": os.environ.get("PLUMBLINE_IMAGE_DIGEST", "")}
    with job.clock.phase("logging"):
        run = job.lineage.open_step(job.pipeline_run, job.step.name, job.key, commands)
        job.lineage.log_inputs(run, job.inputs | {f"reference:{name}": item for name, item in job.compared.items()})
        job.lineage.log_settings(run, job.settings)
    _say(f"mlflow-run {run.info.experiment_id} {run.info.run_id}")
    try:
        context = _context(job)
        with job.clock.phase("startup"):
            ranks.lead(context, job.inputs, job.config.dump())
            work = importlib.import_module(f"components.{job.step.name}.step").run
        with job.clock.phase("work"), accounting.metered(context):
            ranks.work(context, work)
        return _publish(job, run, context)
    except BaseException as error:
        job.lineage.fail(run, _recorded(error))
        raise


def _recorded(error: BaseException) -> str:
    """What MLflow keeps of an error: not what may quote rows of data, which can name people."""
    if isinstance(error, PlumblineError) and not isinstance(error, DataRefused):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}: the step's log says why; it may quote data that name people, so it is not repeated here."


def _context(job: Job) -> Context[Any]:
    attempt = scratch_root() / job.step.name / job.key.removeprefix("sha256:")[:16]
    shutil.rmtree(attempt / "outputs", ignore_errors=True)
    (attempt / "checkpoints").mkdir(parents=True, exist_ok=True)
    evidence = None
    if job.step.reads_evidence:
        evidence = attempt / "evidence"
        shutil.rmtree(evidence, ignore_errors=True)
        evidence.mkdir()
        for name, path in job.evidence_files.items():
            (evidence / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, evidence / name)
    return Context(
        step=job.step,
        config=job.config.sections[job.step.name],
        seed=job.config.seed,
        inputs=job.paths,
        scratch=attempt,
        checkpoints=attempt / "checkpoints",
        pipeline_run=job.pipeline_run,
        input_digests={name: item.digest for name, item in job.inputs.items()},
        evidence=evidence,
        registry=record.Versions(job.lineage, job.inputs) if job.step.registry else None,
        baseline=job.baseline,
        origins=job.origins,
        sections={name: job.config.sections[name] for name in job.step.sections},
        reference=job.reference,
        predecessor=job.predecessor,
        releases=job.releases,
        earlier=job.earlier,
        external=job.external,
    )


def _publish(job: Job, run: Run, context: Context[Any]) -> str:
    """All outputs or none: the run is marked finished last."""
    with job.clock.phase("logging"):
        published = {}
        for name in job.step.writes:
            folder = context.output(name)
            files = provenance.file_digests(folder)
            digest = provenance.listing_digest(files)
            published[name] = job.lineage.publish(run, job.step, name, folder, files, digest)
        signer = provenance.functionary(job.step.name, keys_root())
        beside = record.write_beside(job, run, context, published, signer)
        job.lineage.log_files(run, beside)
    job.lineage.log_numbers(run, context, job.clock.seconds)
    tags = {"plumbline.artifact_tags": json.dumps(context.artifact_tags), "plumbline.gate_failed": context.refusal}
    job.lineage.finish(run, tags | record.listed_tables(published))
    job.lineage.register(run, published, context.artifact_tags)
    record.describe(job, run, published, context)
    _promote(job)
    shutil.rmtree(context.scratch, ignore_errors=True)
    _announce(job, run)
    return context.refusal


def _promote(job: Job) -> None:
    for model in job.step.outdates:
        job.lineage.mark_by_base(model, job.lineage.find_output(job.pipeline_run, "base", "base_model").digest)
    for model, alias in job.step.promotes.items():
        item = next(item for item in _models(job).values() if item.registered_model == model)
        version = job.lineage.version(item)
        champion = job.lineage.resolve(model, "champion")
        if champion is None or champion.version != version:
            job.lineage.move(model, alias, version)


def _announce(job: Job, run: Run) -> None:
    """Tell the runtime where to look, and, of a candidate, what the approver is to be shown."""
    outputs = job.lineage.outputs(run)
    paths = {name: job.lineage.fetch(item) for name, item in outputs.items()}
    for name, path in paths.items():
        _say(f"{name} {path}")
    result: dict[str, Any] = {"mlflow_run": f"{run.info.experiment_id} {run.info.run_id}"}
    if "pack" in paths:
        result["candidate"] = record.candidate(job, paths["pack"], outputs["pack"].digest, result["mlflow_run"])
        _say(f"candidate {json.dumps(result['candidate'])}")
    if os.environ.get("PLUMBLINE_RESULT"):
        Path(os.environ["PLUMBLINE_RESULT"]).write_text(json.dumps(result), encoding="utf-8")


@contextmanager
def _lock(job: Job) -> Iterator[None]:
    """Keeps two attempts with the same step key on this machine from running at once."""
    path = scratch_root() / "locks" / f"{job.step.name}-{job.key.removeprefix('sha256:')[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            message = f"`{job.step.name}` is already running with the same inputs and settings. Wait for it, then run it again."
            raise TryAgain(message) from None
        yield


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (the contract: lines for the runtime on stdout)
