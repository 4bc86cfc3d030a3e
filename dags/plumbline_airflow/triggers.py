"""What is followed between runs: the content of a folder or file, a hub repository's commit, an MLflow alias's version.

The last version seen is kept in Airflow's asset state store, so a change while the triggerer was down is caught when it
comes back, and a restart without a change starts nothing. The first look only remembers. A version counts once it has
stayed the same for two looks: a folder that is being written starts one run, not ten. The state is kept before the event is
given out, so one change never starts two runs; a triggerer killed between the two loses the event, and a schedule
or the next change makes up for it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 10.0
TIMEOUT_SECONDS = 30
HUB = "https://huggingface.co"
KINDS = ("file", "folder", "hub", "mlflow")


class VersionTrigger(BaseEventTrigger):
    """Fires each time the version of `place` changes.

    Args:
        place: `folder:PATH`, `file:PATH`, `hub:ORGANISATION/NAME` or `mlflow:MODEL@ALIAS`.
        seconds: Between two looks.
    """

    def __init__(self, place: str, seconds: float = SECONDS) -> None:
        super().__init__()
        kind, _, what = place.partition(":")
        if kind not in KINDS or not what:
            message = f"{place!r} can't be watched; give KIND:WHAT, where KIND is one of {', '.join(KINDS)}."
            raise AirflowException(message)
        self.place, self.seconds = place, seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where Airflow finds this class, and what it was made with."""
        return ("plumbline_airflow.triggers.VersionTrigger", {"place": self.place, "seconds": self.seconds})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, and look again."""
        store = self.asset_state_store
        last = await store.aget("version") if store else None
        candidate = None
        while True:
            found = await asyncio.to_thread(self._look)
            settled, candidate = found == candidate, found
            if found and settled and found != last:
                before, last = last, found
                if store:
                    await store.aset("version", found)
                if before is not None:
                    self.log.info("%s changed from %s to %s", self.place, before, found)
                    yield TriggerEvent({"place": self.place, "version": found, "before": before})
            await asyncio.sleep(self.seconds)

    def _look(self) -> str | None:
        """The version now; None where it can't be told, which is no change."""
        try:
            return version(self.place)
        except (OSError, ValueError, KeyError) as error:
            self.log.warning("%s could not be looked at: %s", self.place, error)
            return None


def version(place: str) -> str | None:
    """The version of a place; None where there is nothing yet.

    Raises:
        OSError: The place does not answer.
    """
    kind, _, what = place.partition(":")
    if kind in {"file", "folder"}:
        return _content(Path(what))
    return _commit(what) if kind == "hub" else _aliased(what)


def _content(path: Path) -> str | None:
    """`sha256:HEX` over names and bytes, as `components.provenance.folder_digest` has it."""
    if not path.exists():
        return None
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())
    digests = {}
    for file in files:
        with file.open("rb") as opened:
            name = file.name if file == path else file.relative_to(path).as_posix()
            digests[name] = hashlib.file_digest(opened, "sha256").hexdigest()
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def _commit(repository: str) -> str:
    """The commit that a hub repository's main branch is at."""
    hub = os.environ.get("HF_ENDPOINT", HUB)
    token = os.environ.get("HF_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    name = urllib.parse.quote(repository)
    return str(_asked(f"{hub}/api/models/{name}/revision/main", headers)["sha"])


def _aliased(what: str) -> str | None:
    """The version that an alias of a registered model points to."""
    model, _, alias = what.partition("@")
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    word = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {word}"} if user else {}
    query = urllib.parse.urlencode({"name": model, "alias": alias})
    address = f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/alias?{query}"
    try:
        return str(_asked(address, headers)["model_version"]["version"])
    except urllib.error.HTTPError as error:
        if error.code in {400, 404}:
            return None
        raise


def _asked(address: str, headers: dict[str, str]) -> dict[str, Any]:
    if not address.startswith(("http://", "https://")):
        message = f"{address} is no web address"
        raise ValueError(message)
    request = urllib.request.Request(address, headers=headers)  # noqa: S310  (checked above)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        found: dict[str, Any] = json.loads(answer.read())
        return found
