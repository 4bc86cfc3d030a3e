from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from components.errors import ArtifactRefused, TryAgain
from components.provenance import file_digests, folder_digest, functionary, verify_link, write_link

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def leaf(tmp_path: Path) -> Path:
    folder = tmp_path / "leaf"
    (folder / "vein").mkdir(parents=True)
    (folder / "vein" / "sap.txt").write_text("sweet")
    (folder / "Zed.txt").write_text("z")
    (folder / "a b.txt").write_text("a")
    return folder


def test_the_folder_digest_is_what_standard_tools_say(leaf: Path) -> None:
    """The docstring of `listing_digest` promises this command line to auditors."""
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    told = subprocess.run(command, shell=True, cwd=leaf, capture_output=True, text=True, check=True).stdout

    assert folder_digest(leaf) == f"sha256:{told.split()[0]}"


def test_the_folder_digest_sees_content_and_names(leaf: Path) -> None:
    before = folder_digest(leaf)

    (leaf / "Zed.txt").write_text("y")
    changed = folder_digest(leaf)
    (leaf / "Zed.txt").write_text("z")
    (leaf / "Zed.txt").rename(leaf / "Zet.txt")

    assert len({before, changed, folder_digest(leaf)}) == 3


def test_a_link_in_a_folder_is_refused(leaf: Path) -> None:
    (leaf / "shortcut").symlink_to(leaf / "Zed.txt")

    with pytest.raises(ArtifactRefused) as refusal:
        file_digests(leaf)

    assert str(refusal.value) == (
        "leaf/'shortcut' is a link or has a line break or backslash in its name. Remove or rename it."
    )


def test_keys_are_private_and_made_once(tmp_path: Path) -> None:
    first = functionary("ppo", tmp_path / "keys")
    again = functionary("ppo", tmp_path / "keys")

    assert first.key_id == again.key_id
    assert first.origin == "locally generated"
    assert (tmp_path / "keys" / "ppo.pem").stat().st_mode & 0o077 == 0
    assert functionary("sft", tmp_path / "keys").key_id != first.key_id


def test_provided_keys_are_said_to_be_provided_and_never_added_to(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    functionary("ppo", keys)
    (keys / "ORIGIN").unlink()

    assert functionary("ppo", keys).origin == "provided"
    with pytest.raises(TryAgain) as refusal:
        functionary("sft", keys)
    assert str(refusal.value) == (
        f"{keys} holds signing keys but none named sft.pem. Add the key of this step and run it again."
    )


def _signed(tmp_path: Path, leaf: Path) -> Path:
    link = tmp_path / "grow.link"
    write_link(
        link,
        step="grow",
        signer=functionary("grow", tmp_path / "keys"),
        materials={},
        products={"leaf": file_digests(leaf)},
        command=["python"],
        environment={"step_key": "k"},
    )
    return link


def test_a_signed_link_verifies_until_a_product_changes(tmp_path: Path, leaf: Path) -> None:
    link = _signed(tmp_path, leaf)
    signer = functionary("grow", tmp_path / "keys")
    verify_link(link, signer=signer, products={"leaf": file_digests(leaf)})

    (leaf / "Zed.txt").write_text("y")

    with pytest.raises(ArtifactRefused, match=r"grow\.link does not sign leaf/Zed\.txt as it is now\. Run `grow` again\."):
        verify_link(link, signer=signer, products={"leaf": file_digests(leaf)})


def test_a_link_of_another_key_is_refused(tmp_path: Path, leaf: Path) -> None:
    link = _signed(tmp_path, leaf)

    with pytest.raises(ArtifactRefused, match=r"grow\.link is not signed by key"):
        verify_link(link, signer=functionary("brew", tmp_path / "keys"), products={"leaf": file_digests(leaf)})


def test_an_edited_payload_is_refused(tmp_path: Path, leaf: Path) -> None:
    link = _signed(tmp_path, leaf)
    envelope = json.loads(link.read_text())
    envelope["payload"] = envelope["payload"][:-8] + "AAAAAAA="
    link.write_text(json.dumps(envelope))

    with pytest.raises(ArtifactRefused):
        verify_link(link, signer=functionary("grow", tmp_path / "keys"), products={"leaf": file_digests(leaf)})
