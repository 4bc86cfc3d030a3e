"""Which libraries are installed, and a digest of each that is the same wherever the same wheel is installed."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import json
import re
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OF_THE_PLACE = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json")
"""Files in `.dist-info` that installers write."""


def text() -> str:
    """Library → version and sha256, as JSON; sorted, and the same bytes for the same environment.

    What it does not cover: what somebody changed in an installed file. The digest is of what the wheel promised.
    """
    found = {}
    for distribution in metadata.distributions():
        record = distribution.read_text("RECORD")
        digest = of_record(record.splitlines()) if record and not _is_local(distribution) else ""
        if digest:
            name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
            found[name] = {"version": distribution.version, "sha256": digest}
    return json.dumps({"libraries": found}, indent=1, sort_keys=True) + "\n"


def of_record(lines: Iterable[str]) -> str:
    """SHA-256 of the lines `SHA256  PATH` of a wheel's files, by path; empty where RECORD holds no hash.

    Args:
        lines: Of RECORD: path, `sha256=` and urlsafe base64, size. Left out: scripts, whose first line names the place where
            they lie, and what installers add.

    Source: https://packaging.python.org/specifications/recording-installed-packages/
    """
    listed = {}
    for path, hashed, *_ in csv.reader(lines):
        kind, _, digest = hashed.partition("=")
        if kind == "sha256" and not path.startswith(("../", "/")) and not path.endswith(OF_THE_PLACE):
            try:
                listed[path] = f"{base64.urlsafe_b64decode(digest + '==').hex()}  {path}\n"
            except binascii.Error:
                return ""
    return hashlib.sha256("".join(listed[path] for path in sorted(listed)).encode()).hexdigest() if listed else ""


def _is_local(distribution: metadata.Distribution) -> bool:
    """Whether it was installed from a folder of this machine, so that its files tell where that is."""
    return '"dir_info"' in (distribution.read_text("direct_url.json") or "")
