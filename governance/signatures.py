"""DSSE envelopes, opened with a public key. Strict: one way of writing an envelope, so that no changed byte passes."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from components.errors import ArtifactRefused

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


class NotSignedError(Exception):
    """An envelope is damaged, or not signed by the key. Its text says which."""


@dataclass(frozen=True)
class Opened:
    """What an envelope held."""

    payload: bytes
    kind: str
    keyid: str


def public_key(pem: bytes, *, where: str) -> PublicKey:
    """A public key from its text.

    Raises:
        ArtifactRefused: It is none, or of a kind that Plumbline never uses.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{where} is not a public key ({error}). Get it again from where the owner publishes it."
        raise ArtifactRefused(message) from None
    if not isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey):
        message = f"{where} is a key of the kind {type(key).__name__}; Plumbline signs with Ed25519 and ECDSA."
        raise ArtifactRefused(message)
    return key


def public_keys(pem: bytes, *, where: str) -> list[PublicKey]:
    """The public keys of a file that holds one after another, at least one.

    Raises:
        ArtifactRefused: See `public_key`.
    """
    end = b"-----END PUBLIC KEY-----"
    blocks = [block + end for block in pem.split(end)[:-1]]
    return [public_key(block.strip(), where=where) for block in blocks or [pem]]


def opened(text: bytes, key: PublicKey, *, canonical: bool = True) -> Opened:
    """The payload of an envelope that `key` signed.

    Args:
        text: The file.
        key: Whose signature it must carry.
        canonical: Whether it must be written exactly as Plumbline writes its own envelopes.

    Raises:
        NotSignedError: It does not.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        payload = base64.b64decode(raw["payload"], validate=True)
        (signature,) = raw["signatures"]
        sig = base64.b64decode(signature["sig"], validate=True)
        kind, keyid = str(raw["payloadType"]), str(signature["keyid"])
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        message = f"is not a DSSE envelope with one signature ({error})"
        raise NotSignedError(message) from None
    made = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(sig).decode()}],
    }
    if canonical and (json.dumps(made, sort_keys=True, separators=(",", ":")) + "\n").encode() != text:
        message = "was rewritten since it was signed"
        raise NotSignedError(message)
    _check(key, sig, b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload))
    return Opened(payload, kind, keyid)


def _check(key: PublicKey, signature: bytes, signed: bytes) -> None:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, ECDSA(hashes.SHA256()))
    except InvalidSignature:
        message = "does not carry the signature of this key"
        raise NotSignedError(message) from None
