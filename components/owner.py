"""What the owner of the pipeline signs: the layout, models, statements, manifests and the register of releases.

The layout says which steps there are, whose key signs each, and which files each may hand on; `in-toto-verify` checks it
without code of ours. Models are signed by OpenSSF model signing. The rest are DSSE envelopes, written in one way only
(sorted keys, no spaces), so that every changed byte shows.

What it does not cover: who holds the owner's key. A key that was made here vouches for nobody outside.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from components import trust
from components.catalog import ALIGN, RELEASE, writer
from components.errors import ArtifactRefused
from components.provenance import OWNER, functionary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from components.provenance import Functionary

IN_TOTO = "application/vnd.in-toto+json"
JSON = "application/json"
INSPECTION = "folder"
"""Name of the inspection of the released folder; `in-toto-verify` leaves `folder.link` where it runs."""
TREE = {"base_model": ("base_model", "base"), "policy_adapter": ("policy_adapter", "ppo"), "approval": ("approval", "approve")}
"""Folder of a release → the artifact that it is, and the step that wrote it."""
ALLOWED = ("model/*", "canaries.json", "pack/*", "provenance/*", "release.json", "manifest.json", "manifest.dsse.json")
"""What `deploy` adds; the owner signs it in the manifest, and the merged `model` as a model too."""


def owner(keys: Path) -> Functionary:
    """The owner's key in the folder `keys`; made on first use where keys are made here."""
    return functionary(OWNER, keys)


def public_pem(keys: Path) -> bytes:
    """The owner's public key as text."""
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415  (0.3 s import)

    owner(keys)
    private = form.load_pem_private_key((keys / f"{OWNER}.pem").read_bytes(), None)
    return private.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)


def envelope(payload: bytes, kind: str, signer: Functionary) -> str:
    """A DSSE envelope, https://github.com/secure-systems-lab/dsse, as one line."""
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    signature = bytes.fromhex(signer.signer.sign(encoded).signature)
    made = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(made, sort_keys=True, separators=(",", ":")) + "\n"


def sign_model(folder: Path, signature: Path, keys: Path) -> None:
    """Sign a model's folder, so that `model_signing verify key` accepts it."""
    from model_signing import signing  # noqa: PLC0415  (1 s import)

    owner(keys)
    signature.parent.mkdir(parents=True, exist_ok=True)
    signing.Config().use_elliptic_key_signer(private_key=keys / f"{OWNER}.pem").sign(folder, signature)


def write_provenance(folder: Path, *, links: Mapping[str, Path], keys: Path, expires: str) -> None:
    """Write the signed layout and the links that it speaks of.

    Args:
        folder: Where to; gets `root.layout`, `owner.pub` and `links/STEP.KEY.link`.
        links: Step → its signed link.
        keys: Folder of keys; must hold the public key of every step.
        expires: When the layout ends, RFC 3339 in UTC with `Z`.

    Raises:
        ArtifactRefused: A step left no link, or it is not signed by the step's key.
    """
    from in_toto.models.layout import Inspection, Layout, Step  # noqa: PLC0415  (0.6 s import)
    from in_toto.models.metadata import Envelope  # noqa: PLC0415

    payloads, public = {}, {}
    steps = [step for step in (*ALIGN, *RELEASE) if step.name != "deploy"]
    (folder / "links").mkdir(parents=True, exist_ok=True)
    made = []
    for step in steps:
        if step.name not in links:
            message = f"`{step.name}` left no signed link, so the release can't be proven. Run `{step.name}` again."
            raise ArtifactRefused(message)
        payloads[step.name] = trust.signed_link(links[step.name], step=step.name, keys=keys)
        key = trust.public_key(step.name, keys)
        public[key.keyid] = {"keyid": key.keyid, **key.to_dict()}
        (folder / "links" / f"{step.name}.{key.keyid[:8]}.link").write_bytes(links[step.name].read_bytes())
        made.append(
            Step(
                name=step.name,
                pubkeys=[key.keyid],
                expected_materials=[*(_matched(name) for name in step.reads), ["DISALLOW", "*"]],
                expected_products=[*(["ALLOW", f"{name}/*"] for name in step.writes), ["DISALLOW", "*"]],
            )
        )
    inspection = Inspection(name=INSPECTION, run=["true"], expected_products=[], expected_materials=_folder_rules(payloads))
    layout = Layout(steps=made, inspect=[inspection], keys=public, expires=expires, readme=_README)
    signed = Envelope.from_signable(layout)
    signed.create_signature(owner(keys).signer)
    signed.dump(str(folder / "root.layout"))
    (folder / "owner.pub").write_bytes(public_pem(keys))


_README = (
    "Every step of the pipeline, the key that signs it, and the files that it may hand on. Check with: "
    "in-toto-verify --layout provenance/root.layout --verification-keys provenance/owner.pub --link-dir provenance/links"
)


def _matched(artifact: str) -> list[str]:
    return ["MATCH", f"{artifact}/*", "WITH", "PRODUCTS", "FROM", writer(artifact).name]


def _folder_rules(payloads: Mapping[str, Any]) -> list[list[str]]:
    """Every file of the weights, the approval and the draft is there, as its step signed it."""
    rules = []
    for name, (artifact, step) in TREE.items():
        rules += [["REQUIRE", path] for path in sorted(payloads[step].products) if path.startswith(f"{artifact}/")]
        rules.append(["MATCH", f"{name}/*", "WITH", "PRODUCTS", "FROM", step])
    rules.append(["MATCH", "*", "IN", "draft", "WITH", "PRODUCTS", "IN", "pack", "FROM", "document"])
    rules += [["ALLOW", name] for name in ALLOWED]
    return [*rules, ["DISALLOW", "*"]]
