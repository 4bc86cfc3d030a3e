"""Following versions, without Airflow's processes; tests/e2e/test_triggers.py has them."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from components.provenance import folder_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("airflow")


class Store:
    """Airflow's asset state store, in memory."""

    def __init__(self, **kept: str) -> None:
        self.kept = kept

    async def aget(self, name: str) -> str | None:
        return self.kept.get(name)

    async def aset(self, name: str, value: str) -> None:
        self.kept[name] = value


def _follow(versions: list[str | None], monkeypatch: pytest.MonkeyPatch, store: Store) -> list[tuple[str, str]]:
    """(before, version) of every event, when looks find these versions one after another."""
    from plumbline_airflow import triggers

    trigger = triggers.VersionTrigger("folder:x", seconds=0.0)
    trigger.asset_state_store = store
    looks = iter(versions)

    def look(_place: str) -> str | None:
        try:
            found = next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None
        if found == "away":
            raise OSError(found)
        return found

    monkeypatch.setattr(triggers, "version", look)
    found: list[tuple[str, str]] = []

    async def collect() -> None:
        async for event in trigger.run():
            found.append((event.payload["before"], event.payload["version"]))  # noqa: PERF401  (until it is interrupted)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(collect())
    return found


def test_the_first_version_is_remembered_and_a_change_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()

    assert _follow(["a", "a", "a", "b", "b", "b"], monkeypatch, store) == [("a", "b")]
    assert store.kept == {"version": "b"}


def test_a_storm_of_changes_fires_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _follow(["a", "a", "b", "c", "d", "e", "f", "f", "f"], monkeypatch, Store()) == [("a", "f")]


def test_a_change_while_nobody_looked_is_caught_at_the_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _follow(["b", "b", "b"], monkeypatch, Store(version="a")) == [("a", "b")]


def test_a_restart_without_a_change_fires_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _follow(["a", "a", "a"], monkeypatch, Store(version="a")) == []


def test_a_place_that_is_away_or_gone_for_a_while_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _follow(["away", "away", None, None, "a", "a"], monkeypatch, Store(version="a")) == []


def test_a_folders_version_is_its_digest_in_lineage(tmp_path: Path) -> None:
    from plumbline_airflow.triggers import version

    (tmp_path / "vein").mkdir()
    (tmp_path / "vein" / "sap.txt").write_text("sweet")
    (tmp_path / "a b.txt").write_text("a")
    (tmp_path / "a").write_text("z")

    assert version(f"folder:{tmp_path}") == folder_digest(tmp_path)
    assert version(f"folder:{tmp_path}/none") is None


def test_a_files_version_changes_with_its_content(tmp_path: Path) -> None:
    from plumbline_airflow.triggers import version

    pin = tmp_path / "data.dvc"
    pin.write_text("md5: 1")
    before = version(f"file:{pin}")
    pin.write_text("md5: 2")

    assert before != version(f"file:{pin}")


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, tuple[int, Any]], list[tuple[str, str]]]]:
    """A server of JSON answers by path; remembers (path, Authorization)."""
    answers: dict[str, tuple[int, Any]] = {}
    asked: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            code, body = answers.get(self.path, (404, {}))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers, asked
    server.shutdown()
    server.server_close()


def test_a_hub_repositorys_version_is_its_commit(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from plumbline_airflow.triggers import version

    address, answers, asked = web
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "t")
    answers["/api/models/org/name/revision/main"] = (200, {"sha": "c" * 40})

    assert version("hub:org/name") == "c" * 40
    assert asked == [("/api/models/org/name/revision/main", "Bearer t")]


def test_an_aliass_version_is_the_one_it_points_to(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from plumbline_airflow.triggers import version

    address, answers, asked = web
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pw")
    path = "/api/2.0/mlflow/registered-models/alias?name=base-model&alias=production"
    answers[path] = (200, {"model_version": {"version": "7"}})

    assert version("mlflow:base-model@production") == "7"
    assert version("mlflow:base-model@none") is None
    assert asked[0] == (path, "Basic YWRhOnB3")


def test_a_place_of_an_unknown_kind_is_refused() -> None:
    from airflow.sdk.exceptions import AirflowException

    from plumbline_airflow.triggers import VersionTrigger

    with pytest.raises(AirflowException, match="give KIND:WHAT, where KIND is one of file, folder, hub, mlflow"):
        VersionTrigger("ftp:x")


SCHEDULE = """
import json
from plumbline_airflow.schedule import schedule
print(json.dumps(repr(schedule())))
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["None"]),
        ({"PLUMBLINE_SCHEDULE": "0 3 * * 1"}, ["CronTriggerTimetable"]),
        ({"PLUMBLINE_WATCH_BASE": "folder:/b"}, ["Asset(", "base-model-source"]),
        ({"PLUMBLINE_WATCH_BASE": "folder:/b", "PLUMBLINE_WATCH_DATA": "file:/d"}, ["AssetAny", "preference-data"]),
        ({"PLUMBLINE_SCHEDULE": "0 3 * * 1", "PLUMBLINE_WATCH_BASE": "folder:/b"}, ["AssetOrTimeSchedule"]),
    ],
)
def test_the_environment_says_when_align_starts(python, variables: dict[str, str], expected: list[str]) -> None:
    done = python(SCHEDULE, **variables)

    assert done.returncode == 0, done.stderr[-2000:]
    text = json.loads(done.stdout.splitlines()[-1])
    assert all(part in text for part in expected), text
