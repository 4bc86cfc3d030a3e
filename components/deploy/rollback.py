"""Back to the release before: `python -m components.deploy rollback --by NAME --reason "..."`.

Moves the alias `champion` back to `previous`, has that release served again, and writes a signed record of it beside the
releases and at the version that was taken back. Run twice, it goes nowhere further: the second time there is no `previous`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import provenance, quiet
from components.deploy import serving
from components.errors import ArtifactRefused, ConfigRefused, PlumblineError

if TYPE_CHECKING:
    from components.lineage import Lineage

MODEL = "policy"
REASON_CHARS = 10
TYPE = "plumbline.rollback/v1"


def main(words: list[str]) -> None:
    """Roll back, and say what is served now."""
    parser = argparse.ArgumentParser(prog="python -m components.deploy rollback", description=__doc__)
    parser.add_argument("--by", required=True, help="who decided it")
    parser.add_argument("--reason", required=True)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the gateway may take")
    options = parser.parse_args(words)
    quiet.settle()
    try:
        record = _with_mlflow(options)
    except PlumblineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (a command line)
        sys.exit(error.exit_code)
    print(json.dumps(record, indent=1, sort_keys=True))  # noqa: T201


def _with_mlflow(options: argparse.Namespace) -> dict[str, Any]:
    from components.lineage import Lineage, answering  # noqa: PLC0415  (1 to 4 s import)

    uri = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///.plumbline/mlflow.db")
    root = Path(os.environ.get("PLUMBLINE_RELEASES", "releases")).absolute()
    keys = Path(os.environ.get("PLUMBLINE_KEYS", ".plumbline/keys")).absolute()
    with answering(uri):
        return roll_back(Lineage(uri), root, keys, by=options.by, reason=options.reason, seconds=options.seconds)


def roll_back(lineage: Lineage, root: Path, keys: Path, *, by: str, reason: str, seconds: float) -> dict[str, Any]:
    """Make `previous` the champion again.

    Raises:
        ConfigRefused: No name, or no reason worth the name.
        ArtifactRefused: There is no previous version, or its release folder is gone.
    """
    if not by.strip() or len(reason.strip()) < REASON_CHARS:
        message = f"A rollback needs a name and a reason of at least {REASON_CHARS} characters, found {by!r} and {reason!r}."
        raise ConfigRefused(message)
    champion, previous = lineage.resolve(MODEL, "champion"), lineage.resolve(MODEL, "previous")
    if champion is None or previous is None:
        message = "There is no previous champion to go back to. To stop serving, stop the gateway."
        raise ArtifactRefused(message)
    folder = f"{MODEL}-v{previous.version}"
    if not (root / folder / "release.json").is_file():
        message = (
            f"{root / folder} is not there, so version {previous.version} can't be served. Restore the folder, run it again."
        )
        raise ArtifactRefused(message)
    record: dict[str, Any] = {
        "type": TYPE,
        "by": by.strip(),
        "reason": reason.strip(),
        "from": champion.version,
        "to": previous.version,
        "rolled_back_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    served_before = serving.named(root)
    serving.name(root, folder)
    try:
        record["served"] = serving.wait_until_served(folder, seconds=seconds)
        lineage.move(MODEL, "champion", previous.version)
    except BaseException:
        serving.name(root, served_before)
        raise
    lineage.remove(MODEL, "previous")
    _keep(record, root, keys)
    text = json.dumps(record, sort_keys=True)
    lineage.client.set_model_version_tag(MODEL, champion.version, "plumbline.rolled_back", text[:5000])
    return record


def _keep(record: dict[str, Any], root: Path, keys: Path) -> None:
    """The record, signed by the key of `deploy`."""
    text = json.dumps(record, sort_keys=True)
    signer = provenance.functionary("deploy", keys).signer
    signed = {"record": text, "keyid": signer.public_key.keyid, "signature": signer.sign(text.encode()).signature}
    folder = root / "rollbacks"
    folder.mkdir(exist_ok=True)
    name = f"{record['rolled_back_at'].replace(':', '')}-v{record['from']}-to-v{record['to']}.json"
    (folder / name).write_text(json.dumps(signed, indent=1, sort_keys=True) + "\n", encoding="utf-8")
