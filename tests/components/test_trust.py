"""What a step may believe of another: only what that step signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components import provenance, trust
from components.errors import ArtifactRefused
from components.keys import make

if TYPE_CHECKING:
    from conftest import Toys


@pytest.fixture
def keys(toys: Toys) -> Path:
    from components.entrypoint import keys_root

    assert toys.run_all() == [0, 0, 0]
    return keys_root()


def test_what_a_step_signed_is_believed(toys: Toys, keys: Path) -> None:
    assert trust.signed_evidence(toys.lineage, "run-1", "start", keys).external["trigger"]["by"] == "ada"
    lineage = toys.lineage
    tea = lineage.outputs(lineage.step_run("run-1", "brew"))["tea"]
    trust.signed_products(lineage, "run-1", "brew", keys, artifacts={"tea": lineage.fetch(tea)})


def test_an_edited_record_is_not(toys: Toys, keys: Path) -> None:
    lineage = toys.lineage
    record = Path(lineage.step_run("run-1", "start").info.artifact_uri) / "evidence.json"
    record.write_text(record.read_text().replace("ada", "eve"))

    with pytest.raises(ArtifactRefused, match="is not what it signed"):
        trust.signed_evidence(toys.lineage, "run-1", "start", keys)


def test_a_changed_artifact_is_not(toys: Toys, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "tea").mkdir()
    (tmp_path / "tea" / "tea.txt").write_text("something else")

    with pytest.raises(ArtifactRefused, match="tea is not what `brew` signed"):
        trust.signed_products(toys.lineage, "run-1", "brew", keys, artifacts={"tea": tmp_path / "tea"})


def test_another_steps_signature_is_not(toys: Toys, keys: Path) -> None:
    """Who holds the key of `grow` can't speak for `brew`."""
    lineage = toys.lineage
    forged = lineage.file(lineage.step_run("run-1", "brew"), "brew.link")
    empty: dict = {"materials": {}, "products": {}, "command": [], "environment": {}}
    provenance.write_link(forged, step="brew", signer=provenance.functionary("grow", keys), **empty)

    with pytest.raises(ArtifactRefused, match=r"brew.link does not carry the signature of `brew`"):
        trust.signed_link(forged, step="brew", keys=keys)


def test_a_signature_for_another_step_is_not(keys: Path, tmp_path: Path) -> None:
    link = tmp_path / "brew.link"
    empty: dict = {"materials": {}, "products": {}, "command": [], "environment": {}}
    provenance.write_link(link, step="grow", signer=provenance.functionary("brew", keys), **empty)

    with pytest.raises(ArtifactRefused, match="was signed for the step 'grow', not for `brew`"):
        trust.signed_link(link, step="brew", keys=keys)


def test_a_damaged_link_is_not(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "brew.link").write_text(json.dumps({"payload": "!"}))

    with pytest.raises(ArtifactRefused, match="does not carry the signature"):
        trust.signed_link(tmp_path / "brew.link", step="brew", keys=keys)


def test_without_a_public_key_nothing_is_believed(toys: Toys, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused, match=r"holds no public key of `start` \(start.pub\)"):
        trust.signed_evidence(toys.lineage, "run-1", "start", tmp_path)


def test_a_folder_per_step_holds_its_own_private_key_and_everybodys_public_one(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path)

    private = {folder.name: {path.stem for path in folder.glob("*.pem")} for folder in tmp_path.iterdir()}
    assert private.pop("deploy") == {"deploy", "owner"}  # it seals the release in the owner's name
    assert all(keys == {step} for step, keys in private.items())
    folder = {path.name for path in (tmp_path / "deploy").iterdir()}
    assert {"approve.pub", "deploy.pub", "ORIGIN"} <= folder
    mine = provenance.functionary("approve", tmp_path / "approve").signer.public_key
    assert trust.public_key("approve", tmp_path / "deploy").keyid == mine.keyid
