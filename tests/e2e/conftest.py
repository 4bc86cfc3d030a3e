"""A project folder of its own for each test: the code of this repository, small data, settings that take seconds."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from components import quiet
from components.datapin import folder_md5
from components.testbed.folder import write_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("pipeline-data", "pipeline-train", "pipeline-serve", "airflow")
IN_ORDER = "test_platform.py"
"""One Airflow for all tests of this file: each goes on where the one before it ended."""

SMALL = """
seed = 0

[approve]
four_eyes = false

[base]
hidden = 48
layers = 2
heads = 2
vocabulary = 600
epochs = 20.0
max_updates = 500

[sft]
max_updates = 20

[reward]
epochs = 1

[ppo]
updates = 2
rollouts = 16
minibatch = 8
epochs = 1
judged_prompts = 8
max_new_tokens = 16

[evaluate]
prompts = 24
answer_tokens = 16
resamples = 1000
suite_prompts = 6
suites = ["capability_tax", "harmful_compliance", "over_refusal", "red_team", "sycophancy", "task_quality", "verbosity"]
advisory = [
  "harmful_compliance", "over_refusal", "red_team", "sycophancy", "task_correct", "task_quality", "verbosity",
  "capitulation", "dispositions", "group_fairness", "hedging", "robustness", "truthfulness",
]

[evaluate.margins]
perplexity = 100.0
"""
"""Seconds instead of minutes. Margins are wide and most gates advisory: models this small are beyond good and evil."""


@dataclass
class Project:
    """A folder to run the pipeline in."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        state = self.folder / ".plumbline"
        places = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{state}/mlflow.db",
            "PLUMBLINE_ARTIFACTS": str(state / "mlartifacts"),
            "PLUMBLINE_DATA_ROOT": str(self.folder),
            "PLUMBLINE_KEYS": str(state / "keys"),
            "PLUMBLINE_RELEASES": str(self.folder / "releases"),
            "PLUMBLINE_SCRATCH": str(state / "scratch"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}",
            "OMP_NUM_THREADS": "1",
        }
        return os.environ | quiet.QUIET | places | self.variables

    def run(self, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """`python WORDS` in the folder."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            **options,
        )
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.log()}"
        return done

    def make(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`make WORDS` in the folder, with the environment installed."""
        command = ["make", "--no-print-directory", "-o", ".venv/.installed", *words]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | {"CONFIG": "small.toml"},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.log()}"
        return done

    def log(self) -> str:
        path = self.folder / ".plumbline" / "run.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def lineage(self) -> Any:
        from components.lineage import Lineage

        return Lineage(f"sqlite:///{self.folder}/.plumbline/mlflow.db")

    def pin(self, name: str) -> None:
        """Pin a folder as `dvc add` would; a unit test holds the digest to DVC's own."""
        out = {"md5": folder_md5(self.folder / name), "hash": "md5", "path": name}
        (self.folder / f"{name}.dvc").write_text(yaml.safe_dump({"outs": [out]}))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return _project(tmp_path)


@pytest.fixture(scope="session")
def made_project() -> Callable[[Path], Project]:
    """For fixtures that outlive a test: makes a project in the folder that it is given."""
    return _project


def _project(place: Path) -> Project:
    folder = place / "project"
    folder.mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("Makefile", "dags", "infra", "configs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "small.toml").write_text(SMALL)
    write_world(folder / "data", seed=0, size="small")
    (folder / ".plumbline").mkdir()
    made = Project(folder)
    made.pin("data")
    return made


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Undo the random order where tests build on each other."""
    places = [place for place, item in enumerate(items) if item.path.name == IN_ORDER]
    told = sorted((items[place] for place in places), key=lambda item: item.location[1] or 0)
    for place, item in zip(places, told, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def images(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Image name → reference. PLUMBLINE_TEST_IMAGES (`PREFIX:TAG`) names some that are built already."""
    given = os.environ.get("PLUMBLINE_TEST_IMAGES")
    if given:
        prefix, _, tag = given.rpartition(":")
        yield {name: f"{prefix}{name}:{tag}" for name in IMAGES}
        return
    server = _wheels()
    variables = {
        "BASE_IMAGE": engine.base,
        "BUILD_NETWORK": "host",
        "PREFIX": "plumbline-test/",
        "TAG": "test",
        "SBOM": str(tmp_path_factory.mktemp("sbom")),
        "PATH": f"/usr/bin:{os.environ['PATH']}",
    }
    if server:
        variables["PIP_FIND_LINKS"] = f"http://127.0.0.1:{server.server_port}/"
    built = subprocess.run(
        ["infra/images/build.sh"],
        cwd=ROOT,
        env=os.environ | engine.variables | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    assert sorted(path.name for path in Path(variables["SBOM"]).iterdir()) == sorted(f"{name}.cdx.json" for name in IMAGES)
    yield {name: f"plumbline-test/{name}:test" for name in IMAGES}
    if server:
        server.shutdown()


def _wheels() -> http.server.ThreadingHTTPServer | None:
    """A folder with PyTorch, where pip finds it in one: a build has no folder of this machine, but it has its network."""
    folder = os.environ.get("PIP_FIND_LINKS", "")
    if not folder or not Path(folder).is_dir():
        return None
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
