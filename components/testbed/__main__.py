"""Writes the testbed's data: `python -m components.testbed --out data --seed 0`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.errors import Refused
from components.testbed.folder import write_world
from components.testbed.tables import SIZES


def main() -> int:
    """Write the folder, and say what is in it."""
    parser = argparse.ArgumentParser(prog="python -m components.testbed", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder to write (default: data)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="small is for tests (default: full)")
    parser.add_argument("--force", action="store_true", help="replace the folder even if the testbed did not write it")
    given = parser.parse_args()
    try:
        counts = write_world(given.out, seed=given.seed, size=given.size, force=given.force)
    except Refused as refusal:
        sys.stderr.write(f"{type(refusal).__name__}: {refusal}\n")
        return refusal.exit_code
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    sys.stdout.write(f"Wrote {given.out}: {listed}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
