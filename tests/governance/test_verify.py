"""A release as an auditor gets it: checked with other people's tools, then with ours; and every way to tamper with it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.releasing import finish, mutate, release
from components import releases
from governance import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MUTATIONS = int(os.environ.get("MUTATIONS", "1000"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two releases, made once."""
    root = tmp_path_factory.mktemp("releases")
    with pytest.MonkeyPatch.context() as patch:
        finished = finish(root / "run")
        patch.setenv("PLUMBLINE_RELEASES", str(root / "releases"))
        patch.setenv("PLUMBLINE_KEYS", str(finished.keys))
        for version in ("1", "2"):
            release(root, finished, version)
        yield root / "releases"


@pytest.fixture
def all_releases(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "releases", symlinks=True))


@pytest.fixture
def one(all_releases: Path) -> Path:
    return all_releases / "policy-v2"


def _said(folder: Path) -> str:
    return "\n".join(verify.verify(folder).problems)


def test_an_untouched_release_register_and_pack_are_as_sealed(all_releases: Path) -> None:
    for folder in (all_releases, all_releases / "policy-v1", all_releases / "policy-v2" / "pack"):
        report = verify.verify(folder)
        assert report.problems == []
    assert any("made on the machine that ran the pipeline" in note for note in verify.verify(all_releases / "policy-v1").notes)


def test_the_commands_of_the_auditors_guide_run_as_they_are_written(one: Path) -> None:
    text = (ROOT / "docs" / "auditors.md").read_text()
    standard = text[text.index("## Checking with standard tools only") :]
    script = "\n".join(re.findall(r"```sh\n(.*?)```", standard, flags=re.DOTALL))
    script = "\n".join(line for line in script.splitlines() if not line.startswith("pip install"))
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    done = subprocess.run(["bash", "-eu", "-c", script], cwd=one, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verified OK" in done.stdout
    assert "all files are as signed" in done.stdout


def test_in_toto_verify_passes_with_no_code_of_ours_and_fails_on_a_changed_weight(one: Path) -> None:
    command = [BIN / "in-toto-verify", "--layout", "provenance/root.layout", "--verification-keys", "provenance/owner.pub"]
    command += ["--link-dir", "provenance/links"]
    untouched = subprocess.run(command, cwd=one, capture_output=True, text=True, check=False)
    assert untouched.returncode == 0, untouched.stderr
    assert verify.verify(one).problems == []

    weights = one / "policy_adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"\x01", b"\x02", 1))
    changed = subprocess.run(command, cwd=one, capture_output=True, text=True, check=False)
    assert changed.returncode == 1
    weights.unlink()
    assert subprocess.run(command, cwd=one, capture_output=True, check=False).returncode == 1


def test_model_signing_verifies_the_weights_with_its_own_command_line(one: Path) -> None:
    command = [BIN / "model_signing", "verify", "key", "policy_adapter", "--signature", "provenance/models/policy_adapter.sig"]
    command += ["--public_key", "provenance/owner.pub"]
    untouched = subprocess.run(command, cwd=one, capture_output=True, text=True, check=False)
    assert untouched.returncode == 0, untouched.stdout + untouched.stderr

    (one / "policy_adapter" / "adapter_config.json").write_text('{"r": 8}')
    assert subprocess.run(command, cwd=one, capture_output=True, check=False).returncode != 0


def test_each_change_is_explained_in_a_sentence(one: Path) -> None:
    (one / "pack" / "index.html").rename(one / "pack" / "front.html")
    (one / "pack" / "gaps.html").write_text("none")

    problems = verify.verify(one).problems

    assert problems[0] == "pack/index.html is missing; its content lies in pack/front.html now."
    assert problems[1].startswith("pack/front.html was added after it was sealed on 2")
    assert problems[1].endswith("; it has the content of pack/index.html.")
    assert problems[2].startswith("pack/gaps.html was changed after it was sealed on 2")


def test_a_manifest_rewritten_with_the_files_is_found_by_its_signature(one: Path) -> None:
    (one / "pack" / "gaps.html").write_text("none")
    manifest = json.loads((one / "manifest.json").read_text())
    manifest["files"]["pack/gaps.html"] = hashlib.sha256(b"none").hexdigest()
    (one / "manifest.json").write_text(releases.text(manifest))

    assert _said(one) == "manifest.json was changed after it was signed; manifest.dsse.json holds what it said."


def test_a_release_signed_by_another_owner_is_found_with_the_owners_key_from_elsewhere(one: Path, tmp_path: Path) -> None:
    from components import owner

    outside = tmp_path / "owner.pub"
    outside.write_bytes(owner.public_pem(tmp_path / "other-keys"))

    report = verify.verify(one, owner_key=outside)

    assert report.problems == ["manifest.dsse.json does not carry the signature of this key."]


def test_a_register_stays_verifiable_when_the_owners_key_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is checked with the key of its time; an auditor who keeps both keys gives both, one after another."""
    finished = finish(tmp_path / "run")
    monkeypatch.setenv("PLUMBLINE_RELEASES", str(tmp_path / "releases"))
    monkeypatch.setenv("PLUMBLINE_KEYS", str(finished.keys))
    first = release(tmp_path, finished, "9")
    for path in finished.keys.glob("owner.*"):
        path.unlink()
    second = release(tmp_path, finished, "10")
    old, new = ((made / "provenance" / "owner.pub").read_bytes() for made in (first, second))
    both, unknown = tmp_path / "both.pub", tmp_path / "unknown.pub"
    both.write_bytes(new + old)
    unknown.write_bytes(new)

    assert old != new
    assert verify.verify(first.parent).problems == []
    assert verify.verify(first.parent, owner_key=both).problems == []
    assert verify.verify(first.parent, owner_key=unknown).problems == [
        "register.jsonl, line 1, does not carry the signature of this key.",
        "policy-v9 is not in the register: its line was removed, or it was never released.",
    ]


def test_a_link_of_a_key_that_the_layout_does_not_name_is_refused(one: Path) -> None:
    from governance import links, pack
    from governance.signatures import public_key

    key = public_key((one / "provenance" / "owner.pub").read_bytes(), where="owner.pub")
    found = pack.digests(one)
    assert links.problems(one, key, found) == []
    swapped = sorted((one / "provenance" / "links").glob("*.link"))
    swapped[0].write_bytes(swapped[1].read_bytes())

    (problem,) = links.problems(one, key, found)

    assert problem == f"The link of `{swapped[0].name.split('.')[0]}` does not carry the signature of this key."


def test_a_layout_that_ended_is_named(one: Path, made: Path) -> None:
    from components import owner
    from governance import links, pack
    from governance.signatures import public_key

    keys = made.parent / "run" / "keys"
    evidence = made.parent / "run" / "evidence"
    owner.write_provenance(
        one / "provenance",
        links={path.stem: path for path in evidence.glob("*.link")},
        keys=keys,
        expires="2020-01-01T00:00:00Z",
    )

    key = public_key((one / "provenance" / "owner.pub").read_bytes(), where="owner.pub")

    assert links.problems(one, key, pack.digests(one)) == [
        "provenance/root.layout ended on 2020-01-01T00:00:00Z: ask the owner for a fresh one."
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], "line 1, says that it is number 2 after the line"),
        (lambda lines: lines[::-1], "a line was removed, added or moved"),
        (lambda lines: lines[:1], "policy-v2 is not in the register: its line was removed, or it was never released."),
        (lambda lines: [*lines, lines[1]], "line 3, says that it is number 2"),
        (lambda lines: [lines[0], lines[1][:-9] + b'A=="}]}\n'], "register.jsonl, line 2,"),
    ],
    ids=["removed", "reordered", "truncated", "repeated", "edited"],
)
def test_a_register_that_does_not_only_grow_shows(all_releases: Path, change: Any, said: str) -> None:
    path = all_releases / "register.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    assert said in _said(all_releases)


def test_a_release_whose_folder_is_gone_shows(all_releases: Path) -> None:
    shutil.rmtree(all_releases / "policy-v1")

    assert "policy-v1 is in the register (line 1) but its folder is gone" in _said(all_releases)


@pytest.mark.slow
def test_a_thousand_random_mutations_over_every_kind_of_file_are_all_found(made: Path, tmp_path: Path) -> None:
    """Seeded, so that a miss can be played again."""
    dice = random.Random(20261121)
    missed, kinds = [], set()
    source = made / "policy-v2"
    for _ in range(MUTATIONS):
        folder = tmp_path / "one"
        shutil.copytree(source, folder)
        what = mutate(folder, dice)
        kinds.add(Path(what.split(" ", 1)[1]).suffix)
        if not verify.verify(folder).problems:
            missed.append(what)
        shutil.rmtree(folder)

    assert missed == []
    assert kinds >= {".json", ".html", ".md", ".yaml", ".link", ".layout", ".pub", ".sig", ".safetensors", ".txt"}
    assert verify.verify(source).problems == []


GOLDEN_RELEASES = sorted((ROOT / "tests" / "golden" / "release").glob("v*"))


@pytest.mark.parametrize("kept", GOLDEN_RELEASES, ids=lambda path: path.name)
def test_a_release_made_by_an_earlier_version_is_still_verified(kept: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "kept"))
    assert verify.verify(folder).problems == []

    (folder / "policy-v1" / "pack" / "annex_iv.html").write_text("")

    assert "policy-v1: pack/annex_iv.html was changed after it was sealed on 2026-11-21" in _said(folder)


def test_a_pack_of_an_unknown_version_is_refused(one: Path) -> None:
    from components.errors import ArtifactRefused

    pack = one / "pack"
    manifest = json.loads((pack / "manifest.json").read_text()) | {"type": "plumbline.pack/v9"}
    (pack / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(
        ArtifactRefused, match=r"type 'plumbline\.pack/v9'; this version reads plumbline\.pack/v1\. Use a newer"
    ):
        verify.verify(pack)


def test_a_folder_that_is_nothing_is_refused(tmp_path: Path) -> None:
    from components.errors import ArtifactRefused

    with pytest.raises(ArtifactRefused, match=r"has no manifest\.json\. Give the folder of a pack, of a release"):
        verify.verify(tmp_path)
