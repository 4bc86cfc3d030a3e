"""What is served: the file CURRENT of the releases folder, and the gateway that follows it. Standard library only."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from components.errors import GateFailed, TryAgain

if TYPE_CHECKING:
    from pathlib import Path

CURRENT = "CURRENT"
POLL_SECONDS = 0.5


def named(root: Path) -> str:
    """Name of the release that is to be served; empty where there is none."""
    path = root / CURRENT
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def name(root: Path, release: str) -> None:
    """Say which release is to be served; nobody ever reads half a name."""
    if not release:
        (root / CURRENT).unlink(missing_ok=True)
        return
    draft = root / f".{CURRENT}"
    draft.write_text(release + "\n", encoding="utf-8")
    draft.replace(root / CURRENT)


def wait_until_served(release: str, *, seconds: float) -> dict[str, Any]:
    """What the gateway says once it serves `release`; empty where PLUMBLINE_GATEWAY names none.

    Raises:
        GateFailed: It tried the release, which failed its canary prompts.
        TryAgain: It does not answer, or takes too long.
    """
    address = os.environ.get("PLUMBLINE_GATEWAY", "")
    if not address:
        return {}
    limit = time.monotonic() + seconds
    said: dict[str, Any] = {}
    while time.monotonic() < limit:
        said = _version(address)
        if said.get("serving") == release:
            return said
        if said.get("refused") == release:
            message = f"The gateway did not take {release} into service: {said.get('error')}. What was served before goes on."
            raise GateFailed(message)
        time.sleep(POLL_SECONDS)
    state = f"it serves {said.get('serving') or 'nothing'}" if said else "it does not answer"
    message = (
        f"The gateway at {address} did not take {release} into service within {seconds:.0f} s; {state}. See to it, run again."
    )
    raise TryAgain(message)


def _version(address: str) -> dict[str, Any]:
    if not address.startswith(("http://", "https://")):
        return {}
    try:
        with urllib.request.urlopen(f"{address}/version", timeout=10) as answer:  # noqa: S310  (checked above)
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except (urllib.error.URLError, OSError, ValueError):
        return {}
