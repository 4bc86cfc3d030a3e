"""Signing keys for containers and pods: a folder per step, which holds its own private key and everybody's public one.

    python -m components.keys FOLDER [--owner UID]

`deploy` holds the owner's key too, which signs releases.
The folder `review` is for Airflow's workers, which seal what persons answer. A step that is broken into can then sign as
itself alone. `docker` mounts FOLDER/STEP, Kubernetes a Secret made from it. Keys that are there already stay.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from components.catalog import STEPS
from components.provenance import OWNER, functionary
from components.seal import SEALER


def main() -> None:
    """Make the folders."""
    parser = argparse.ArgumentParser(prog="python -m components.keys", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--owner", type=int, help="user id that steps run as in the images: 10001")
    options = parser.parse_args()
    make(options.folder, owner=options.owner)


def make(root: Path, *, owner: int | None = None) -> None:
    """Make every step's folder below `root`, readable by `owner` alone where one is named."""
    names = (*STEPS, SEALER)
    for step in names:
        functionary(step, root / step)
    functionary(OWNER, root / "deploy")
    for step in names:
        for other in names:
            if other != step:
                shutil.copyfile(root / other / f"{other}.pub", root / step / f"{other}.pub")
        if owner is not None:
            for path in (root / step, *(root / step).iterdir()):
                os.chown(path, owner, owner)


if __name__ == "__main__":
    main()
