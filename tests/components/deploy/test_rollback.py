"""The way back, on a real MLflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import Signature

from components import trust
from components.deploy import serving
from components.deploy.rollback import roll_back
from components.errors import ArtifactRefused, ConfigRefused
from components.lineage import Lineage
from components.provenance import folder_digest

if TYPE_CHECKING:
    from pathlib import Path

REASON = {"by": "ada", "reason": "It answers in rhymes.", "seconds": 1.0}


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    """Versions 1 (previous) and 2 (champion) of the policy, with release folders."""
    made = Lineage(f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "artifacts"))
    made.client.create_registered_model("policy")
    for version in ("1", "2"):
        weights = tmp_path / f"weights-{version}"
        weights.mkdir()
        (weights / "x").write_text(version)
        made.client.create_model_version("policy", source=str(weights), tags={"plumbline.digest": folder_digest(weights)})
        (tmp_path / "releases" / f"policy-v{version}").mkdir(parents=True)
        (tmp_path / "releases" / f"policy-v{version}" / "release.json").write_text("{}")
    made.move("policy", "champion", "2")
    made.move("policy", "previous", "1")
    serving.name(tmp_path / "releases", "policy-v2")
    return made


def test_a_rollback_moves_alias_and_service_and_leaves_a_signed_record(lineage: Lineage, tmp_path: Path) -> None:
    root, keys = tmp_path / "releases", tmp_path / "keys"

    record = roll_back(lineage, root, keys, **REASON)

    assert (record["from"], record["to"], record["by"]) == ("2", "1", "ada")
    assert lineage.resolve("policy", "champion").version == "1"
    assert lineage.resolve("policy", "previous") is None
    assert serving.named(root) == "policy-v1"
    (kept,) = (root / "rollbacks").iterdir()
    signed = json.loads(kept.read_text())
    trust.public_key("deploy", keys).verify_signature(
        Signature(signed["keyid"], signed["signature"]), signed["record"].encode()
    )
    assert json.loads(signed["record"]) == record
    taken_back = lineage.client.get_model_version("policy", "2")
    assert json.loads(taken_back.tags["plumbline.rolled_back"])["reason"] == "It answers in rhymes."


def test_there_is_no_way_back_from_the_way_back(lineage: Lineage, tmp_path: Path) -> None:
    roll_back(lineage, tmp_path / "releases", tmp_path / "keys", **REASON)

    with pytest.raises(ArtifactRefused, match="There is no previous champion to go back to"):
        roll_back(lineage, tmp_path / "releases", tmp_path / "keys", **REASON)


def test_without_a_reason_nothing_moves(lineage: Lineage, tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="a reason of at least 10 characters"):
        roll_back(lineage, tmp_path / "releases", tmp_path / "keys", by="ada", reason="bad", seconds=1.0)

    assert lineage.resolve("policy", "champion").version == "2"


def test_without_the_folder_nothing_moves(lineage: Lineage, tmp_path: Path) -> None:
    (tmp_path / "releases" / "policy-v1" / "release.json").unlink()

    with pytest.raises(ArtifactRefused, match="policy-v1 is not there, so version 1 can't be served"):
        roll_back(lineage, tmp_path / "releases", tmp_path / "keys", **REASON)

    assert lineage.resolve("policy", "champion").version == "2"
    assert serving.named(tmp_path / "releases") == "policy-v2"
