"""What steps and documents need to know of earlier steps and earlier releases: artifacts, records, signed links, versions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import evidence, exports, provenance
from components.catalog import ALIGN, RELEASE, writer
from components.context import Origin, Predecessor, Reference, Release
from components.errors import ArtifactRefused, PlumblineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from components.catalog import Step
    from components.context import ModelVersion, Published
    from components.lineage import Lineage

ORDER = (*ALIGN, *RELEASE)
LAST = 5
"""Releases that a step looks back at."""


def gathered(
    lineage: Lineage, pipeline_run: str, step: Step, versions: Mapping[str, str]
) -> tuple[dict[str, Path], dict[str, Any]]:
    """The files that a step is given as evidence, by name; and what the registry says.

    Args:
        lineage: Where to look.
        pipeline_run: The run that is documented.
        step: Who asks; it gets the steps before it.
        versions: Registered model → version of this run.
    """
    before = _before(lineage, "policy", versions.get("policy", ""))
    files = _of_this_run(lineage, pipeline_run, step) | _of_the_one_before(lineage, before)
    told = {
        "versions": dict(versions),
        "previous": before[0] if before else "",
        "reward_models": _versions(lineage, "reward-model"),
        "exports": _exports(lineage, pipeline_run, versions.get("policy", "")),
    }
    return files, told


def _exports(lineage: Lineage, pipeline_run: str, version: str) -> list[dict[str, Any]]:
    """The log of exports: which tables of people each release so far showed, oldest first, and this one last."""
    found = []
    for released in reversed(_finished(lineage, "deploy")):
        if released != pipeline_run:
            read = _records(lineage, released)
            known = read["deploy"].facts.get("release", {}).get("policy_version", "") if "deploy" in read else ""
            found.append(exports.entry(released, read, version=known))
    own = _records(lineage, pipeline_run)
    return [*found, exports.entry(pipeline_run, {step: own[step] for step in own if step != "deploy"}, version=version)]


def _records(lineage: Lineage, pipeline_run: str) -> dict[str, evidence.Evidence]:
    """The records of the steps that an entry of the log is made of, as far as they ran and are still there."""
    found = {}
    for step in ("annotators", "reward", "deploy"):
        run = lineage.step_run(pipeline_run, step)
        with suppress(ArtifactRefused):
            if run is not None:
                found[step] = evidence.read(lineage.file(run, "evidence.json"))
    return found


def reference(lineage: Lineage, pipeline_run: str, step: Step) -> tuple[Reference | None, dict[str, Published]]:
    """The newest pipeline run on other data than this one's to compare with, and its artifacts; None where there is none.

    Of other data, so that running again on the same data gives the same step key as the first time.
    Artifacts that it never published, or that were withdrawn since, are left out.

    Raises:
        ArtifactRefused: An artifact was changed.
    """
    now = lineage.find_output(pipeline_run, "start", "data_version").digest
    wanted = "validate" if step.compares_accepted else "deploy"
    for earlier in _finished(lineage, wanted):
        start = lineage.step_run(earlier, "start")
        if start is not None and lineage.outputs(start)["data_version"].digest != now:
            items = _standing(lineage, earlier, step.compares)
            paths = {name: checked(lineage, item) for name, item in items.items()}
            return Reference(earlier, paths, {name: item.digest for name, item in items.items()}), items
    return None, {}


def releases(lineage: Lineage, artifact: str, *, but: str) -> list[Release]:
    """The last released policies with an artifact of the run that made each, oldest first.

    Args:
        lineage: Where to look.
        artifact: What is looked back at. One that is gone, withdrawn or edited is named, with the reason, and not handed over.
        but: Digest of the policy that is left out: running again after its release gives the same step key as before it.
    """
    found: dict[str, Release] = {}
    for pipeline_run in _finished(lineage, "deploy"):
        items = _standing(lineage, pipeline_run, ("policy_adapter", artifact))
        policy = items.get("policy_adapter")
        if policy is not None and policy.digest not in {but, *found}:
            found[policy.digest] = _release(lineage, policy, items.get(artifact), artifact)
        if len(found) == LAST:
            break
    return [*found.values()][::-1]


def earlier(lineage: Lineage, artifact: str, *, but: str) -> list[Path]:
    """An artifact as every finished run with another step key than `but` published it, each content once.

    It is no part of the step key: of two runs whose tables can't stand beside each other, the later one sees the earlier one's.
    Does not cover: runs at the same time, and runs that were deleted in MLflow.

    Raises:
        ArtifactRefused: One is gone or was changed.
    """
    filters = f"tags.`plumbline.step` = '{writer(artifact).name}' and attributes.status = 'FINISHED'"
    found: dict[str, Published] = {}
    for run in runs(lineage, filters):
        if run.data.tags.get("plumbline.step_key", "") != but and "plumbline.reused_from" not in run.data.tags:
            item = lineage.outputs(run).get(artifact)
            if item is not None:
                found.setdefault(item.digest, item)
    return [checked(lineage, found[digest]) for digest in sorted(found)]


def runs(lineage: Lineage, filters: str) -> Iterator[Any]:
    """Every run that a filter lets through, however many they are."""
    token = None
    while True:
        page = lineage.client.search_runs([lineage.experiment], filters, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _release(lineage: Lineage, policy: Published, item: Published | None, artifact: str) -> Release:
    named = Release(lineage.version(policy), item.digest if item else "", None)
    if item is None:
        return replace(named, problem=f"its {artifact} was withdrawn")
    try:
        return replace(named, path=checked(lineage, item))
    except ArtifactRefused as error:
        return replace(named, problem=str(error))


def _finished(lineage: Lineage, step: str) -> list[str]:
    """Pipeline runs in which a step finished and no gate failed, newest first: `deploy` releases, `validate` accepts data."""
    filters = f"tags.`plumbline.step` = '{step}' and attributes.status = 'FINISHED'"
    order = ["attributes.start_time DESC"]
    found = lineage.client.search_runs([lineage.experiment], filters, order_by=order, max_results=1000)
    runs = [run.data.tags.get("plumbline.pipeline_run", "") for run in found if not run.data.tags.get("plumbline.gate_failed")]
    return list(dict.fromkeys(filter(None, runs)))


def _standing(lineage: Lineage, pipeline_run: str, names: Sequence[str]) -> dict[str, Published]:
    found: dict[str, Published] = {}
    for name in names:
        run = lineage.step_run(pipeline_run, writer(name).name)
        if run is not None and f"plumbline.withdrawn.{name}" not in run.data.tags:
            item = lineage.outputs(run).get(name)
            if item is not None:
                found[name] = item
    return found


def _of_this_run(lineage: Lineage, pipeline_run: str, step: Step) -> dict[str, Path]:
    files = {}
    for earlier in ORDER[: ORDER.index(step)]:
        run = lineage.step_run(pipeline_run, earlier.name)
        if run is not None:
            files[f"{earlier.name}.json"] = lineage.file(run, "evidence.json")
            files[f"{earlier.name}.link"] = lineage.file(run, f"{earlier.name}.link")
    return files


def _of_the_one_before(lineage: Lineage, before: tuple[str, Any] | None) -> dict[str, Path]:
    """The evidence of the release before, as far as it is still there."""
    if before is None:
        return {}
    pipeline_run = before[1].data.tags.get("plumbline.pipeline_run", "")
    found = {step.name: lineage.step_run(pipeline_run, step.name) for step in ORDER}
    return {f"previous/{name}.json": lineage.file(run, "evidence.json") for name, run in found.items() if run is not None}


def predecessor(lineage: Lineage, model: str, *, base_digest: str) -> Predecessor | None:
    """The newest version of a model that belongs to another base model, with the inputs that it was trained from.

    What is gone, was edited or was revoked is named, with the reason, and not handed over.
    """
    found = [row for row in _versions(lineage, model) if row.get("base_digest", base_digest) != base_digest]
    if not found:
        return None
    newest = found[-1]
    named = Predecessor(newest["version"], newest["digest"], newest["base_digest"], Path(), {})
    if newest.get("state") == "revoked":
        return replace(named, problem=f"version {named.version} belongs to the base model before, and was revoked")
    try:
        run = lineage.client.get_run(newest["run"])
        (own,) = (item for item in lineage.outputs(run).values() if item.registered_model == model)
        folders = _read_by(lineage, run, ("base_model", "sft_adapter"))
        return replace(named, path=checked(lineage, replace(own, digest=named.digest)), inputs=folders)
    except (PlumblineError, OSError, KeyError, ValueError) as error:
        problem = f"version {named.version} belongs to the base model before, and could not be looked at: {error}"
        return replace(named, problem=problem)


def champion(lineage: Lineage, model: str, inputs: Mapping[str, Published]) -> ModelVersion | None:
    """The champion that a candidate is compared with; None where there is none.

    The version before it where the candidate is the champion, so that its evaluation stays the same. One that belongs to
    another base model comes with that, or with the reason why it can't be had.

    Args:
        lineage: Where to look.
        model: Registered model.
        inputs: What the step reads: the candidate as `policy_adapter`, and its `base_model`.
    """
    found = lineage.resolve(model, "champion")
    if found and found.digest == inputs["policy_adapter"].digest:
        found = lineage.resolve(model, "previous")
    if found is None or found.base_digest == inputs["base_model"].digest:
        return found
    try:
        run = _run_of(lineage, lineage.client.get_model_version(model, found.version))
        return replace(found, base=_read_by(lineage, run, ("base_model",))["base_model"])
    except (PlumblineError, OSError, KeyError, ValueError) as error:
        return replace(found, problem=str(error))


def origins(lineage: Lineage, inputs: Mapping[str, Published]) -> dict[str, Origin]:
    """Version and time of every input that is a registered model."""
    found = {}
    for name, item in inputs.items():
        if item.registered_model:
            run = lineage.client.get_run(item.run)
            made = evidence.read(lineage.file(run, "evidence.json"))
            when = str(made.times["finished_at"])
            found[name] = Origin(item.registered_model, lineage.version(item), when, made.facts, made.gaps)
    return found


def _read_by(lineage: Lineage, run: Any, names: Sequence[str]) -> dict[str, Path]:
    """Artifacts that a step run read, on this machine, as they were when it read them."""
    made = evidence.read(lineage.file(run, "evidence.json")).inputs
    items = {name: replace(_published(lineage, made[name].run, name), digest=made[name].digest) for name in names}
    return {name: checked(lineage, item) for name, item in items.items()}


def _published(lineage: Lineage, run: str, artifact: str) -> Published:
    gone = f"Run {run}, which wrote {artifact}, was deleted. Restore it in MLflow."
    return lineage.outputs(lineage.kept(lambda: lineage.client.get_run(run), gone))[artifact]


def checked(lineage: Lineage, found: Published) -> Path:
    """The folder of an artifact on this machine.

    Raises:
        ArtifactRefused: It is gone, or not what its writer recorded.
    """
    path = lineage.fetch(found)
    digest = provenance.listing_digest(provenance.file_digests(path))
    if digest != found.digest:
        message = (
            f"{found.name} has digest {digest}, its writer `{found.step}` recorded {found.digest}. "
            f"Run `{found.step}` again with --fresh; never edit a published artifact."
        )
        raise ArtifactRefused(message)
    return path


def _before(lineage: Lineage, model: str, version: str) -> tuple[str, Any] | None:
    """The released version that `version` would replace, and the run that made it; None where there is none any more."""
    for registered in lineage.client.search_registered_models(f"name = '{model}'"):
        for alias in ("champion", "previous"):
            found = str(registered.aliases.get(alias, ""))
            if found and found != version:
                return found, _run_of(lineage, lineage.client.get_model_version(model, found))
    return None


def _run_of(lineage: Lineage, version: Any) -> Any:
    """The step run that made a registered version.

    Raises:
        ArtifactRefused: It was deleted for good.
    """
    remedy = "Restore the run, or delete the version or its alias in MLflow, then run this step again."
    what = f"{version.name} version {version.version} was made by run {version.run_id}, which was deleted"
    return lineage.kept(lambda: lineage.client.get_run(version.run_id), f"{what}. {remedy}")


def _versions(lineage: Lineage, model: str) -> list[dict[str, str]]:
    """Every registered version of a model with what its tags say, oldest first."""
    found = lineage.client.search_model_versions(f"name = '{model}'")
    return [
        {"version": str(version.version), "run": str(version.run_id or "")}
        | {name.removeprefix("plumbline."): value for name, value in sorted(version.tags.items())}
        for version in sorted(found, key=lambda version: int(version.version))
    ]
