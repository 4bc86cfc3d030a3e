"""MLflow's server with logins, on the database whose address is a secret. Becomes the server; no shell in between."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SECRETS = Path("/run/secrets")


def argv(port: int = 5000) -> list[str]:
    """The server's command. Artifacts go through it, so steps need no access to where they lie."""
    words = ["-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "0.0.0.0", "--port", str(port)]  # noqa: S104  (in a container)
    allowed = "mlflow:*,127.0.0.1:*,localhost:*"
    return [sys.executable, *words, "--artifacts-destination", "/plumbline/artifacts", "--allowed-hosts", allowed]


def environment() -> dict[str, str]:
    """The process's environment, with the secrets in it."""
    store = (SECRETS / "mlflow_database").read_text(encoding="utf-8").strip()
    key = (SECRETS / "mlflow_flask").read_text(encoding="utf-8").strip()
    return dict(os.environ) | {"MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_FLASK_SERVER_SECRET_KEY": key}


if __name__ == "__main__":
    words = argv()
    os.execve(words[0], words, environment())  # noqa: S606  (an argument vector)
