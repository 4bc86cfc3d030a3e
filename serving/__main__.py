"""`python -m serving`: the gateway over PLUMBLINE_RELEASES."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import uvicorn

from serving.gateway import application


def main() -> None:
    """Serve until interrupted; requests at work are finished first."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--state", type=Path, default=Path(".plumbline/serving"), help="folder of logs and the journal")
    options = parser.parse_args()
    releases = Path(os.environ.get("PLUMBLINE_RELEASES", "releases")).absolute()
    uvicorn.run(application(releases, options.state), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
