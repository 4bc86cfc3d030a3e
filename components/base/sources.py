"""Base models that somebody else trained: a local folder, or a hub repository at a pinned revision."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from components import models
from components.errors import ConfigRefused, ModelRefused, TryAgain
from components.provenance import folder_digest

WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "LICENSE*", "NOTICE*", "README.md")
"""What is taken of a folder or repository: weights in safetensors, config, tokenizer, template, licence."""


def from_folder(version: dict[str, Any], target: Path) -> None:
    """Copy a local model.

    Raises:
        ModelRefused: The folder is not the one that `start` saw, or can't be loaded safely.
    """
    folder = Path(os.environ.get("PLUMBLINE_DATA_ROOT", ".")) / version["location"]
    models.check_folder(folder)
    found = folder_digest(folder)
    if found != version["digest"]:
        message = (
            f"The base model in {version['location']} has digest {found}, `start` recorded {version['digest']}. "
            "Start a new pipeline run, and leave the folder alone until it has finished."
        )
        raise ModelRefused(message)
    _take(folder, target)


def from_hub(version: dict[str, Any], target: Path, scratch: Path) -> None:
    """Fetch a repository's files at a pinned commit, or take them from the local hub cache.

    Raises:
        ConfigRefused: No repository or no full commit is named.
        ModelRefused: The repository can't be loaded safely.
        TryAgain: The hub does not answer.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (only where a hub is asked)
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    if not version["location"] or not version["revision"]:
        message = (
            f"base.source is `hub`, so base.location must name a repository and base.revision its commit (40 hex digits); "
            f"found {version['location']!r} and {version['revision']!r}."
        )
        raise ConfigRefused(message)
    try:
        folder = Path(snapshot_download(version["location"], revision=version["revision"], allow_patterns=list(WANTED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        message = f"The hub did not give {version['location']} at {version['revision']}: {str(error).splitlines()[0][:200]}."
        raise TryAgain(message) from None
    solid = scratch / "snapshot"
    shutil.rmtree(solid, ignore_errors=True)
    shutil.copytree(folder, solid)
    models.check_folder(solid)
    _take(solid, target)


def _take(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for pattern in WANTED:
        for path in sorted(folder.glob(pattern)):
            shutil.copyfile(path, target / path.name)
    models.load_tokenizer(target)
