"""What documents need to know of earlier steps and earlier releases: records, signed links, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components import provenance
from components.catalog import ALIGN, RELEASE
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from components.catalog import Step
    from components.lineage import Lineage, Published

ORDER = (*ALIGN, *RELEASE)


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
    }
    return files, told


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
                return found, lineage.client.get_run(lineage.client.get_model_version(model, found).run_id)
    return None


def _versions(lineage: Lineage, model: str) -> list[dict[str, str]]:
    """Every registered version of a model with what its tags say, oldest first."""
    found = lineage.client.search_model_versions(f"name = '{model}'")
    return [
        {"version": str(version.version), "run": str(version.run_id or "")}
        | {name.removeprefix("plumbline."): value for name, value in sorted(version.tags.items())}
        for version in sorted(found, key=lambda version: int(version.version))
    ]
