"""Check a pack, a release or all releases, offline, and say in a sentence what is wrong.

    all releases    register.jsonl: every line signed, chained to the line before, and its folder there and as it names it
    a release       the manifest signed by the owner, every file as it says; then the layout and every step's link, the
                    models' signatures and the statements
    a pack          every file as the manifest says; signed by the owner where it was released

What it does not cover: who the owner is. The key in the folder proves only that one hand signed all of it; give the owner's
key from elsewhere (`--owner-key`) to know whose. Where the key was replaced over the years, that file holds all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.errors import ArtifactRefused
from governance import links, pack
from governance.signatures import NotSignedError, PublicKey, opened, public_key, public_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REGISTER = "register.jsonl"
RELEASE_TYPE, ENTRY_TYPE = "plumbline.release-manifest/v1", "plumbline.release/v1"
OWNER = "provenance/owner.pub"
INSPECTION_LINK = "folder.link"
"""Left by `in-toto-verify` where it ran; harmless."""
FIRST = "0" * 64


@dataclass
class Report:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was checked, and what a reader must know of it."""


def verify(folder: Path, *, owner_key: Path | None = None) -> Report:
    """Check a folder of any kind.

    Raises:
        ArtifactRefused: It is none of the three.
    """
    if not folder.is_dir():
        message = f"{folder} is not a folder. Give the folder of a pack, of a release or of all releases."
        raise ArtifactRefused(message)
    given = public_keys(owner_key.read_bytes(), where=str(owner_key)) if owner_key else []
    if (folder / REGISTER).exists():
        return _register(folder, given)
    if (folder / OWNER).exists() or (folder / "draft").is_dir():
        return release(folder, given)
    return _pack(folder, given)


def release(folder: Path, given: Sequence[PublicKey]) -> Report:
    """Check one release, signed by one of the keys given, or by its own where none is."""
    report = Report()
    key = _key_of(folder, given, report)
    if key is None:
        return report
    manifest = _signed_manifest(folder, key, report, RELEASE_TYPE)
    if manifest is None:
        return report
    since = f"it was sealed on {manifest.get('sealed_at')}"
    apart = frozenset({pack.MANIFEST, pack.SIGNATURE, INSPECTION_LINK})
    found = pack.digests(folder, apart=apart)
    report.problems += pack.compare(manifest["files"], found, since)
    if report.problems:
        return report
    report.problems += links.problems(folder, key, found)
    report.problems += _statements(folder, key)
    report.problems += _models(folder)
    report.problems += [f"pack/{problem}" for problem in _pack(folder / "pack", [key]).problems]
    report.notes.append(f"{len(found)} files are as the signed manifest says; layout, links, models and statements hold.")
    report.notes += _about_key(manifest, given)
    return report


def _about_key(manifest: dict[str, Any], given: Sequence[PublicKey]) -> list[str]:
    notes = []
    if manifest.get("key") == "locally generated":
        notes.append("The owner's key was made on the machine that ran the pipeline; nobody outside vouches for it.")
    if not given:
        notes.append("The owner's key was taken from the folder itself; give --owner-key to know whose signature it is.")
    return notes


def _key_of(folder: Path, given: Sequence[PublicKey], report: Report) -> PublicKey | None:
    """The key that a release must be signed by: its own, if it is one of those given or none is."""
    path = folder / OWNER
    if not given:
        return _own_key(path, report)
    own = _own_key(path, Report()) if len(given) > 1 and path.is_file() else None
    return own if own in given else given[0]


def _own_key(path: Path, report: Report) -> PublicKey | None:
    if not path.is_file():
        report.problems.append(f"{path.name} is missing, the public key of the owner. Give it with --owner-key.")
        return None
    try:
        return public_key(path.read_bytes(), where=OWNER)
    except ArtifactRefused as error:
        report.problems.append(str(error))
        return None


def _signed_manifest(folder: Path, key: PublicKey, report: Report, kind: str) -> dict[str, Any] | None:
    """The manifest, if the owner signed exactly these bytes."""
    signature = folder / pack.SIGNATURE
    if not signature.is_file():
        report.problems.append(f"{pack.SIGNATURE} is missing, so nobody signs for {pack.MANIFEST}.")
        return None
    try:
        signed = opened(signature.read_bytes(), key).payload
    except NotSignedError as error:
        report.problems.append(f"{pack.SIGNATURE} {error}.")
        return None
    path = folder / pack.MANIFEST
    if not path.is_file() or path.is_symlink():
        report.problems.append(f"{pack.MANIFEST} is missing or a link; its signature is there.")
        return None
    if path.read_bytes() != signed:
        report.problems.append(f"{pack.MANIFEST} was changed after it was signed; {pack.SIGNATURE} holds what it said.")
        return None
    try:
        return pack.manifest(folder, kind)
    except ArtifactRefused as error:
        report.problems.append(str(error))
        return None


def _pack(folder: Path, given: Sequence[PublicKey]) -> Report:
    report = Report(pack.verify(folder))
    released = _deployed(folder / "release.json")
    if not released and not (folder / pack.SIGNATURE).exists():
        report.notes.append(
            "This is a draft: nobody signed it. The signed link of the step `document` holds every file's digest."
        )
        return report
    key = _key_of(folder.parent, given, report) if given else None
    if key is None:
        report.notes.append("The pack is signed, but no key was given: --owner-key. Verify the release's folder, or give it.")
        if not (folder / pack.SIGNATURE).is_file():
            report.problems.append(f"{pack.SIGNATURE} is missing, though this pack was released.")
        return report
    _signed_manifest(folder, key, report, pack.TYPE)
    return report


def _deployed(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("deployed_at"))
    except (OSError, ValueError, AttributeError):
        return False


def _statements(folder: Path, key: PublicKey) -> list[str]:
    """Each statement is signed, and is the one that the pack shows."""
    problems = []
    shown = {path.stem: path for path in (folder / "pack" / "attestations").glob("*.json")}
    signed = {
        path.name.removesuffix(".dsse.json"): path for path in (folder / "provenance" / "attestations").glob("*.dsse.json")
    }
    problems += [f"pack/attestations/{name}.json is not signed." for name in sorted(shown.keys() - signed.keys())]
    problems += [
        f"provenance/attestations/{name}.dsse.json signs what the pack lacks." for name in sorted(signed.keys() - shown.keys())
    ]
    for name in sorted(shown.keys() & signed.keys()):
        try:
            if opened(signed[name].read_bytes(), key).payload != shown[name].read_bytes():
                problems.append(f"{signed[name].name} signs another statement than pack/attestations/{name}.json.")
        except NotSignedError as error:
            problems.append(f"{signed[name].name} {error}.")
    return problems


def _models(folder: Path) -> list[str]:
    """Each model carries a signature of OpenSSF model signing, by the key in the folder."""
    from model_signing import verifying  # noqa: PLC0415  (1 s import)

    problems = []
    for name in ("base_model", "policy_adapter", *(["model"] if (folder / "model").is_dir() else [])):
        signature = folder / "provenance" / "models" / f"{name}.sig"
        if not signature.is_file():
            problems.append(f"provenance/models/{name}.sig is missing, so nobody signs for {name}.")
            continue
        try:
            checker = verifying.Config().use_elliptic_key_verifier(public_key=folder / OWNER)
            checker.verify(folder / name, signature)
        except Exception as error:  # noqa: BLE001  (whatever a damaged signature raises, the answer is the same)
            problems.append(f"provenance/models/{name}.sig does not sign {name} as it is: {error}.")
    return problems


def _register(root: Path, given: Sequence[PublicKey]) -> Report:
    """Check the chain of releases, then each release that is there."""
    report = Report()
    there = {path.name for path in root.glob("policy-v*") if path.is_dir()}
    entries = _entries(root, given or _all_keys(root, sorted(there)), report)
    last = {entry["folder"]: entry for entry in entries}
    for name in sorted(there - last.keys()):
        report.problems.append(f"{name} is not in the register: its line was removed, or it was never released.")
    for name, entry in sorted(last.items()):
        path = root / name / pack.MANIFEST
        if not path.is_file():
            report.problems.append(
                f"{name} is in the register (line {entry['number']}) but its folder is gone or has no manifest."
            )
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["manifest"]:
            report.problems.append(
                f"{name} has another manifest than the one that the register names (line {entry['number']})."
            )
        else:
            report.problems += [f"{name}: {problem}" for problem in release(root / name, given).problems]
    report.notes.append(f"The register has {len(entries)} lines; {len(there)} releases are here.")
    report.notes += _about_key({}, given)
    return report


def _entries(root: Path, keys: Sequence[PublicKey], report: Report) -> list[dict[str, Any]]:
    """The lines that are signed by any of the keys, in order; what breaks the chain goes into the report."""
    entries: list[dict[str, Any]] = []
    before = FIRST
    content = (root / REGISTER).read_bytes()
    if content and not content.endswith(b"\n"):
        report.problems.append(f"{REGISTER} ends in the middle of a line.")
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        where = f"{REGISTER}, line {number},"
        try:
            entry = json.loads(_opened(line, keys))
        except (NotSignedError, ValueError) as error:
            report.problems.append(f"{where} {error}.")
            before = hashlib.sha256(line).hexdigest()
            continue
        if entry.get("type") != ENTRY_TYPE or not isinstance(entry.get("folder"), str):
            report.problems.append(f"{where} has type {entry.get('type')!r}; this version reads {ENTRY_TYPE}.")
        elif entry["previous"] != before or entry["number"] != number:
            report.problems.append(
                f"{where} says that it is number {entry['number']} after the line {str(entry['previous'])[:12]}…, "
                f"the line before is {before[:12]}…: a line was removed, added or moved."
            )
            entries.append(entry)
        else:
            entries.append(entry)
        before = hashlib.sha256(line).hexdigest()
    return entries


def _all_keys(root: Path, names: Sequence[str]) -> list[PublicKey]:
    """The different owner's keys of the releases that are there: a key that was replaced signed the lines of its time."""
    files = dict.fromkeys(path.read_bytes() for name in names if (path := root / name / OWNER).is_file())
    found: list[PublicKey] = []
    for content in files:
        with contextlib.suppress(ArtifactRefused):
            found.append(public_key(content, where=OWNER))
    return found


def _opened(line: bytes, keys: Sequence[PublicKey]) -> bytes:
    """The payload of a line.

    Raises:
        NotSignedError: It is signed by none of the keys, or there is none to check it with.
    """
    refused = NotSignedError("can't be checked without the owner's key; give --owner-key")
    for key in keys:
        try:
            return opened(line, key).payload
        except NotSignedError as error:
            refused = error
    raise refused
