"""Makes a release for tests/golden/release/vN: `python tests/golden/make_release.py tests/golden/release/vN`.

Run once for each version of the format; a release that is there is never made again, because later versions must verify it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.releasing import finish, release


def main() -> None:
    """Make the release, without PDFs, which are large."""
    target = Path(sys.argv[1])
    if target.exists():
        message = f"{target} is there. A released version is never edited; give the next one."
        raise SystemExit(message)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        finished = finish(root / "run")
        os.environ |= {"PLUMBLINE_RELEASES": str(root / "releases"), "PLUMBLINE_KEYS": str(finished.keys)}
        (root / "releases").mkdir()
        release(root, finished, "1")
        shutil.copytree(root / "releases", target)


if __name__ == "__main__":
    main()
