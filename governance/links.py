"""The in-toto layout and links of a release, checked by our own code too: who signed what, and that nothing was swapped.

`in-toto-verify` does the same without us; this one says in a sentence what is wrong.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from governance.signatures import NotSignedError, PublicKey, opened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LAYOUT = "provenance/root.layout"
TREE = {
    "base_model": ("base_model", "base"),
    "policy_adapter": ("policy_adapter", "ppo"),
    "approval": ("approval", "approve"),
    "draft": ("pack", "document"),
}
"""Folder of a release → the artifact that it is, and the step that wrote it."""


def problems(folder: Path, owner: PublicKey, found: Mapping[str, str]) -> list[str]:
    """What is wrong with layout and links.

    Args:
        folder: The release.
        owner: The owner's key.
        found: sha256 of the release's files.
    """
    try:
        layout = _layout(folder, owner)
    except (NotSignedError, OSError, ValueError) as error:
        return [f"{LAYOUT} {error}."]
    said = _ended(layout)
    products: dict[str, dict[str, str]] = {}
    materials: dict[str, dict[str, str]] = {}
    for step in layout["steps"]:
        name = step["name"]
        try:
            link = _link(folder, step, layout["keys"])
        except (NotSignedError, OSError, ValueError, KeyError) as error:
            said.append(f"The link of `{name}` {error}.")
            continue
        said += _evidence(folder, name, link)
        products[name] = {path: digest["sha256"] for path, digest in link["products"].items()}
        materials[name] = {path: digest["sha256"] for path, digest in link["materials"].items()}
    if len(products) < len(layout["steps"]):
        return said
    return said + _handed_on(materials, products) + _as_released(found, products)


def _layout(folder: Path, owner: PublicKey) -> dict[str, Any]:
    payload = opened((folder / LAYOUT).read_bytes(), owner, canonical=False).payload
    layout: dict[str, Any] = json.loads(payload)
    return layout


def _ended(layout: Mapping[str, Any]) -> list[str]:
    expires = datetime.fromisoformat(str(layout["expires"]))
    return [f"{LAYOUT} ended on {layout['expires']}: ask the owner for a fresh one."] if expires < datetime.now(UTC) else []


def _link(folder: Path, step: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The link of a step, signed by one of the keys that the layout names for it."""
    (keyid,) = step["pubkeys"]
    path = folder / "provenance" / "links" / f"{step['name']}.{keyid[:8]}.link"
    if not path.is_file():
        message = f"by the key {keyid[:8]} that the layout names is missing"
        raise NotSignedError(message)
    found = opened(path.read_bytes(), _key(keys[keyid]), canonical=False)
    link: dict[str, Any] = json.loads(found.payload)
    if link["name"] != step["name"]:
        message = f"is of another step, {link['name']!r}"
        raise NotSignedError(message)
    return link


def _evidence(folder: Path, step: str, link: Mapping[str, Any]) -> list[str]:
    """The record in the pack is the one that the step signed."""
    path = folder / "pack" / "evidence" / f"{step}.json"
    signed = link["environment"].get("evidence")
    if not path.is_file():
        return [f"pack/evidence/{step}.json is missing, though `{step}` signed it."]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    return [] if found == signed else [f"pack/evidence/{step}.json is not the record that `{step}` signed ({signed})."]


def _key(key: Mapping[str, Any]) -> PublicKey:
    public = key["keyval"]["public"]
    if key["keytype"] == "ed25519":
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    loaded: PublicKey = load_pem_public_key(public.encode())  # type: ignore[assignment]
    return loaded


def _handed_on(materials: Mapping[str, Mapping[str, str]], products: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What each step read is what another wrote."""
    written = {path: digest for made in products.values() for path, digest in made.items()}
    return [
        f"`{step}` read {path} with sha256 {digest}, its writer signed {written.get(path, 'no such file')}."
        for step, read in materials.items()
        for path, digest in sorted(read.items())
        if written.get(path) != digest
    ]


def _as_released(found: Mapping[str, str], products: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is released is what the steps wrote."""
    said = []
    for name, (artifact, step) in TREE.items():
        signed = {
            path.removeprefix(f"{artifact}/"): digest
            for path, digest in products[step].items()
            if path.startswith(f"{artifact}/")
        }
        here = {path.removeprefix(f"{name}/"): digest for path, digest in found.items() if path.startswith(f"{name}/")}
        different = sorted(path for path in signed.keys() | here.keys() if signed.get(path) != here.get(path))
        said += [f"{name}/{path} is not what `{step}` signed." for path in different]
    return said
