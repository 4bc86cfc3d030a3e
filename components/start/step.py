"""The story of `start`: name the data and the base model by digest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.datapin import data_version
from components.errors import ModelRefused
from components.provenance import folder_digest

if TYPE_CHECKING:
    from components.context import Context
    from components.start.config import Settings


def run(context: Context[Settings]) -> None:
    """Write down which data and which base model this pipeline run is made from."""
    root = Path(os.environ.get("PLUMBLINE_DATA_ROOT", "."))
    folder, pin = context.config.data_folder, context.config.data_pin
    version = data_version(root / folder, root / pin)
    data = version | {"folder": folder, "pin": pin}
    base = _base_version(context.external["config"]["base"], root)

    _write(context.output("data_version") / "data_version.json", data)
    _write(context.output("base_version") / "base_version.json", base)
    context.fact("data", {"folder": folder, "pin": pin, "md5": version["md5"]})
    context.fact("base", base)
    context.measure("data_bytes", sum(file["bytes"] for file in version["files"].values()), unit="bytes")
    context.measure("data_files", len(version["files"]), unit="files")


def _base_version(base: dict[str, Any], root: Path) -> dict[str, Any]:
    source = base["source"]
    named = {"source": source, "location": base["location"], "revision": base["revision"], "digest": ""}
    if source != "folder":
        return named
    folder = root / base["location"]
    if not base["location"] or not folder.is_dir():
        message = f"base.location names the folder {base['location']!r}, which is not there. Give the folder of a base model."
        raise ModelRefused(message)
    return named | {"digest": folder_digest(folder)}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
