"""Digests that stand for people where tables of one release are compared with those of another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from components import identitykey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from components.records import Annotator

COUNTED = {"pseudonym", "kind", "demographics", "platform", "pay_band", "lawful_basis", "guidelines"}


def entry(person: Annotator, *, key: str = "") -> str:
    """A digest of all of a person that tables count: who changes a value leaves as one and comes as another."""
    return identitykey.digest(json.dumps(person.model_dump(include=COUNTED), sort_keys=True), key=key)


def entries(person: Annotator, *, key: str) -> dict[str, str]:
    """Key → digest by it: the one that is set, and none, for what was kept before one was set."""
    return {identitykey.name_of(known): entry(person, key=known) for known in ("", key)}


def snapshot(pseudonyms: Iterable[str], *, key: str = "") -> str:
    """Digest of who is in a pool; it names the pool without naming anybody in it."""
    kind = "hmac-sha256" if key else "sha256"
    return f"{kind}:{identitykey.digest(chr(10).join(sorted(pseudonyms)), key=key)}"
