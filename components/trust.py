"""What another step signed, checked with that step's public key. MLflow may hold anything; a signature can't be made there.

What it does not cover: who holds the private keys. On one machine the same user holds all of them; in containers and pods
each step is given its own (`components/keys.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components import evidence, provenance, seal
from components.catalog import writer
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from components.entrypoint import Job
    from components.evidence import Evidence
    from components.lineage import Lineage


def verified(job: Job, keys: Path) -> dict[str, Any]:
    """What a step of the release may rely on: every input signed by its writer, the rule, and who started the candidate.

    Raises:
        ArtifactRefused: A signature is missing or another's.
    """
    for artifact, path in job.paths.items():
        name = writer(artifact).name
        signed_products(job.lineage, job.pipeline_run, name, keys, artifacts={artifact: path})
    trigger = signed_evidence(job.lineage, job.pipeline_run, "start", keys).external.get("trigger") or {}
    rule = job.config.sections["approve"].model_dump(mode="json")
    told: dict[str, Any] = {"candidate": {"triggered_by": str(trigger.get("by") or "")}, "rule": rule}
    if "answer" in job.external:
        told["answer"] = _answers(job.external["answer"], keys)
    return told


def _answers(given: Mapping[str, Any], keys: Path) -> dict[str, Any]:
    """The first review's answer, with the second's as `second` where there was one."""
    envelopes, dag_run = given.get("sealed") or {}, str(given.get("dag_run") or "")
    if not any(envelopes.values()):
        return {}
    key = public_key(seal.SEALER, keys)
    first, second = (
        seal.opened(envelopes.get(task) or {}, key, dag_run=dag_run, task=task) for task in ("review", "second_review")
    )
    return first | ({"second": second} if second else {})


def signed_evidence(lineage: Lineage, pipeline_run: str, step: str, keys: Path) -> Evidence:
    """The evidence that `step` left in this pipeline run, if its signed link names exactly these bytes.

    Raises:
        ArtifactRefused: The step has not finished, or record and signature don't belong together.
    """
    run = lineage.step_run(pipeline_run, step)
    if run is None:
        message = f"`{step}` has not finished in the pipeline run {pipeline_run!r}, so nothing of it is signed. Run it first."
        raise ArtifactRefused(message)
    record = lineage.file(run, "evidence.json")
    link = signed_link(lineage.file(run, f"{step}.link"), step=step, keys=keys)
    if link.environment.get("evidence") != provenance.file_digest(record):
        message = f"The evidence of `{step}` (run {run.info.run_id}) is not what it signed. Run it again; never edit a record."
        raise ArtifactRefused(message)
    return evidence.read(record)


def signed_products(lineage: Lineage, pipeline_run: str, step: str, keys: Path, *, artifacts: Mapping[str, Path]) -> None:
    """Check that `step` signed these folders as its products.

    Raises:
        ArtifactRefused: It did not.
    """
    run = lineage.step_run(pipeline_run, step)
    if run is None:
        message = f"`{step}` has not finished in the pipeline run {pipeline_run!r}, so nothing of it is signed. Run it first."
        raise ArtifactRefused(message)
    link = signed_link(lineage.file(run, f"{step}.link"), step=step, keys=keys)
    for name, folder in artifacts.items():
        found = {f"{name}/{path}": {"sha256": digest} for path, digest in provenance.file_digests(folder).items()}
        signed = {path: digest for path, digest in link.products.items() if path.startswith(f"{name}/")}
        if found != signed:
            message = f"{name} is not what `{step}` signed (run {run.info.run_id}). Run `{step}` again; never edit an artifact."
            raise ArtifactRefused(message)


def signed_link(path: Path, *, step: str, keys: Path) -> Any:
    """The payload of a link that carries the signature of `step`.

    Raises:
        ArtifactRefused: It is somebody else's, or of another step, or damaged.
    """
    from in_toto.models.metadata import Metadata  # noqa: PLC0415  (0.6 s import)

    key = public_key(step, keys)
    try:
        envelope = Metadata.load(str(path))
        envelope.verify_signature({"keyid": key.keyid, **key.to_dict()})
        payload = envelope.get_payload()
    except Exception as error:  # noqa: BLE001  (whatever a damaged envelope raises, the answer is the same)
        message = f"{path.name} does not carry the signature of `{step}` (key {key.keyid[:8]}): {error}. Run `{step}` again."
        raise ArtifactRefused(message) from None
    if payload.name != step:
        message = f"{path.name} was signed for the step {payload.name!r}, not for `{step}`. Run `{step}` again."
        raise ArtifactRefused(message)
    return payload


def public_key(step: str, keys: Path) -> Any:
    """The public key of `step` in the folder `keys`.

    Raises:
        ArtifactRefused: The folder has none.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  (0.3 s import)
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415

    path = keys / f"{step}.pub"
    if path.is_file():
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    if (keys / f"{step}.pem").is_file():
        return provenance.functionary(step, keys).signer.public_key
    message = f"{keys} holds no public key of `{step}` ({step}.pub), so what it signed can't be checked. Put the key there."
    raise ArtifactRefused(message)
