"""A server that goes away is waited for, and one that does while an artifact is fetched is no missing artifact."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import threading
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3.util.retry

from components import lineage as module
from components.away import PATIENCE
from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from conftest import Toys


def _tea(toys: Toys) -> tuple[Any, Any]:
    assert toys.run_all() == [0, 0, 0]
    found = toys.lineage
    return found, found.outputs(found.step_run("run-1", "brew"))["tea"]


def test_a_download_that_broke_off_is_tried_once_more(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage, tea = _tea(toys)
    real, calls = module.download_artifacts, []

    def breaks_once(**options: Any) -> str:
        calls.append(options)
        if len(calls) == 1:
            message = "Connection broken"
            raise ConnectionError(message)
        return str(real(**options))

    monkeypatch.setattr(module, "download_artifacts", breaks_once)

    assert (lineage.fetch(tea) / "tea.txt").is_file()
    assert len(calls) == 2


def test_a_server_that_is_away_says_nothing_about_an_artifact(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the step is to be tried again (75), and not refused for ever (65)."""
    lineage, tea = _tea(toys)

    def away(*_: Any, **__: Any) -> None:
        message = "Connection refused"
        raise ConnectionError(message)

    monkeypatch.setattr(module, "download_artifacts", away)
    monkeypatch.setattr(lineage.client, "get_experiment", away)

    with pytest.raises(ConnectionError):
        lineage.fetch(tea)


def test_an_artifact_that_is_gone_is_refused(toys: Toys) -> None:
    lineage, tea = _tea(toys)
    shutil.rmtree(Path(tea.uri.removeprefix("file://")))

    with pytest.raises(ArtifactRefused, match=r"tea of run .* is not in the artifact store"):
        lineage.fetch(tea)


class _Experiments(http.server.BaseHTTPRequestHandler):
    """As much of MLflow as says that the experiment is there."""

    def do_GET(self) -> None:
        text = json.dumps({"experiment": {"experiment_id": "7", "name": module.EXPERIMENT, "lifecycle_stage": "active"}})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


def test_a_server_that_is_away_for_five_minutes_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on the port until the tries have waited for 300 seconds, by a clock that runs when somebody sleeps."""
    for name in PATIENCE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    waited: list[float] = []
    servers: list[http.server.HTTPServer] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if sum(waited) >= 300 and not servers:
            servers.append(http.server.HTTPServer(("127.0.0.1", port), _Experiments))
            threading.Thread(target=servers[0].serve_forever, daemon=True).start()

    monkeypatch.setattr(urllib3.util.retry, "time", types.SimpleNamespace(sleep=sleep, time=time.time))
    try:
        lineage = module.Lineage(f"http://127.0.0.1:{port}")
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()

    assert lineage.experiment == "7"
    assert sum(waited) >= 300
    assert max(waited) <= 125, "whoever comes back is not kept waiting for longer"
