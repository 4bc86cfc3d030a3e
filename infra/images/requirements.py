"""The requirements of some extras, one a line: `python requirements.py data governance`. A layer that code doesn't change."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in sys.argv[1:] for line in extras[name])]
    print("\n".join(wanted))  # noqa: T201  (a command line)
