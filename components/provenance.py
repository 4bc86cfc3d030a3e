"""Digests, in-toto links and the keys that sign them.

Every step signs an in-toto link over the files it read (materials) and wrote (products) with its own functionary key,
as a DSSE envelope, so that `in-toto-verify` can check the chain without any code of ours.

What a signature does not cover: that the step's code did what it says. It covers who wrote which bytes from which bytes.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.errors import ArtifactRefused, TryAgain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from securesystemslib.signer import CryptoSigner

CHUNK_BYTES = 1 << 20
ORIGIN = "ORIGIN"
LOCAL = "locally generated"
OWNER = "owner"
"""Name of the key that signs releases; not a step. Elliptic, because OpenSSF model signing takes no other."""


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Relative POSIX path → sha256 in hex, for every file below `folder`, sorted by path.

    Raises:
        ArtifactRefused: Something below it is a link, or has a name that does not fit on one line.
    """
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or "\n" in name or "\\" in name:
            message = f"{folder.name}/{name!r} is a link or has a line break or backslash in its name. Remove or rename it."
            raise ArtifactRefused(message)
        if path.is_file():
            digests[name] = file_digest(path)
    return dict(sorted(digests.items()))


def listing_digest(digests: Mapping[str, str]) -> str:
    r"""One digest for many files: sha256 of the lines `HEX  PATH`, sorted by path.

    With standard tools: `find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum`.
    """
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """`sha256:HEX` of a folder's files and their names; see `listing_digest`."""
    return listing_digest(file_digests(folder))


@dataclass(frozen=True)
class Functionary:
    """Who signs for a step."""

    signer: CryptoSigner
    origin: str
    """`locally generated`, or `provided` where an operator put the key in place."""

    @property
    def key_id(self) -> str:
        """The key's id, as in-toto shortens and names it."""
        return str(self.signer.public_key.keyid)


def functionary(step: str, keys: Path) -> Functionary:
    """The key of `step` in the folder `keys`, made on first use.

    A folder in which keys were made here holds the file ORIGIN; where an operator mounts keys, it does not.

    Raises:
        TryAgain: The folder has keys of an operator's, but none for this step.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  (0.3 s import)
    from securesystemslib.signer import CryptoSigner  # noqa: PLC0415

    path = keys / f"{step}.pem"
    if not path.exists():
        _generate(path)
    private = load_pem_private_key(path.read_bytes(), None)
    origin = LOCAL if (keys / ORIGIN).exists() else "provided"
    return Functionary(CryptoSigner(private), origin)


def _generate(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(path.parent.glob("*.pem")) and not (path.parent / ORIGIN).exists():
        message = f"{path.parent} holds signing keys but none named {path.name}. Add the key of this step and run it again."
        raise TryAgain(message)
    (path.parent / ORIGIN).write_text(f"{LOCAL}\n", encoding="utf-8")
    is_owner = path.stem == OWNER
    key = ec.generate_private_key(ec.SECP256R1()) if is_owner else ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(private)
    try:
        os.link(draft, path)
        path.with_suffix(".pub").write_bytes(public)
    except FileExistsError:
        pass  # another step of the same name was faster; its key counts
    finally:
        draft.unlink()


def write_link(  # noqa: PLR0913  (a link has so many parts)
    path: Path,
    *,
    step: str,
    signer: Functionary,
    materials: Mapping[str, Mapping[str, str]],
    products: Mapping[str, Mapping[str, str]],
    command: list[str],
    environment: Mapping[str, Any],
) -> None:
    """Sign and write the in-toto link of a finished step.

    Args:
        path: File to write.
        step: Name of the step in the layout.
        signer: Whose key signs.
        materials: Artifact → relative path → sha256 in hex, of what was read.
        products: The same, of what was written.
        command: What was run.
        environment: Step key, code and environment digests.
    """
    from in_toto.models.link import Link  # noqa: PLC0415  (0.6 s import)
    from in_toto.models.metadata import Envelope  # noqa: PLC0415

    link = Link(
        name=step,
        materials=_paths(materials),
        products=_paths(products),
        byproducts={"return-value": 0},
        command=command,
        environment=dict(environment),
    )
    envelope = Envelope.from_signable(link)
    envelope.create_signature(signer.signer)
    envelope.dump(str(path))


def verify_link(path: Path, *, signer: Functionary, products: Mapping[str, Mapping[str, str]]) -> None:
    """Check a link's signature, and that it signs exactly these products.

    Raises:
        ArtifactRefused: The signature is not the functionary's, or the products differ.
    """
    from in_toto.models.metadata import Metadata  # noqa: PLC0415

    try:
        envelope = Metadata.load(str(path))
        key = signer.signer.public_key
        envelope.verify_signature({"keyid": key.keyid, **key.to_dict()})
        payload = envelope.get_payload()
    except Exception as error:  # noqa: BLE001  (whatever a damaged envelope raises, the answer is the same)
        message = f"{path.name} is not signed by key {signer.key_id[:8]}: {error}. Run the step again; never edit a link."
        raise ArtifactRefused(message) from None
    signed = payload.products
    claimed = _paths(products)
    different = sorted(name for name in signed.keys() | claimed.keys() if signed.get(name) != claimed.get(name))
    if different:
        message = f"{path.name} does not sign {', '.join(different[:5])} as it is now. Run `{payload.name}` again."
        raise ArtifactRefused(message)


def _paths(artifacts: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {f"{name}/{path}": {"sha256": digest} for name, files in sorted(artifacts.items()) for path, digest in files.items()}
