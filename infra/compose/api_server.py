"""Airflow's API server with the logins of a secret: `python api_server.py FILE`. Becomes the server; no shell in between.

Airflow's simple login opens its file of passwords for writing, even where nothing is to be written, and a secret is mounted
read-only: the server would not start. So it is given a copy that this user alone may read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

COPY = Path("/tmp/airflow_users.json")  # noqa: S108  (in a container, on a file system of its own)


def argv(port: int = 8080) -> list[str]:
    """The server's command."""
    return [sys.executable, "-m", "airflow", "api-server", "--host", "0.0.0.0", "--port", str(port)]  # noqa: S104  (in a container)


def environment(secret: Path, copy: Path = COPY) -> dict[str, str]:
    """The process's environment; the passwords lie in `copy`."""
    copy.unlink(missing_ok=True)
    with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret.read_bytes())
    return dict(os.environ) | {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(copy)}


if __name__ == "__main__":
    words = argv()
    os.execve(words[0], words, environment(Path(sys.argv[1])))  # noqa: S606  (an argument vector)
