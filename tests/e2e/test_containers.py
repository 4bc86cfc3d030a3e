"""The images, and the whole pipeline with every step in its container, on PostgreSQL and an MLflow server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Project

USER = 10001
COMPARED = ("validate", "annotators", "base", "sft", "reward", "ppo")
"""Steps whose bytes are compared. Not those of `start`, which says where the data are, of `evaluate`, whose report is dated by
the evidence of its models, and of `document`, which reads evidence, and that names runs and times."""
DATED = ("evaluate",)
"""Of these the keys alone are compared."""

pytestmark = [
    pytest.mark.docker,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(5400),
]


def test_an_image_has_no_rights_no_build_tools_and_says_what_it_is(engine: Any, images: dict[str, str]) -> None:
    for name, image in images.items():
        found = json.loads(engine.docker("image", "inspect", image).stdout)[0]["Config"]
        assert found["User"] == "10001:10001", name
        assert found["Labels"]["plumbline.lock"].startswith("sha256:"), name
        assert len(found["Labels"]["org.opencontainers.image.revision"]) >= 12, name
        ask = (
            "import getpass, importlib.util as u, json, shutil, sys; "
            "bom = json.load(open('/opt/plumbline/sbom.cdx.json')); "
            "left = [bool(u.find_spec('pip')), bool(shutil.which('gcc'))]; "
            "print(json.dumps([*left, bom['bomFormat'], len(bom['components']), getpass.getuser()]))"
        )
        said = engine.docker("run", "--rm", "--network=host", "--read-only", image, "python", "-c", ask).stdout
        has_pip, has_compiler, form, parts, user = json.loads(said)
        assert (has_pip, has_compiler, form, user) == (False, False, "CycloneDX", "plumbline"), name
        assert parts > 50, name


def test_images_hold_their_extra_and_no_other(engine: Any, images: dict[str, str]) -> None:
    names = "('torch', 'great_expectations', 'airflow', 'uvicorn')"
    ask = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"

    found = {
        name: engine.docker("run", "--rm", "--network=host", image, "python", "-c", ask).stdout
        for name, image in images.items()
    }

    assert "'torch'" not in found["pipeline-data"]
    assert "'great_expectations'" in found["pipeline-data"]
    assert "'torch'" in found["pipeline-train"]
    assert "'uvicorn'" in found["pipeline-serve"]
    assert "'airflow'" in found["airflow"]
    assert all("'airflow'" not in text for name, text in found.items() if name != "airflow")


def test_containers_make_what_processes_make(
    engine: Any, images: dict[str, str], project: Project, made_project: Callable[[Path], Project], tmp_path: Path
) -> None:
    """The same step keys and the same bytes, whether a step ran as a process or in its image."""
    from components.lineage import Lineage

    (tmp_path / "other").mkdir()
    local = made_project(tmp_path / "other")
    local_run = _run(local, {})
    with_processes = local.lineage()

    with _services(project) as (mlflow, airflow):
        variables = _containers(engine, images, project, mlflow)
        run = _run(project, variables | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow}, release=True)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        in_containers = Lineage(mlflow)
        here, there = (_made(lineage, made) for lineage, made in ((with_processes, local_run), (in_containers, run)))
        assert there == here
        for step, image in (("validate", "pipeline-data"), ("ppo", "pipeline-train"), ("deploy", "pipeline-train")):
            digest = json.loads(engine.docker("image", "inspect", images[image]).stdout)[0]["Id"]
            ran = in_containers.step_run(run, step)
            assert ran.data.tags["plumbline.image_digest"] == digest
            assert json.loads(in_containers.file(ran, "evidence.json").read_text())["environment"]["image_digest"] == digest
    assert (project.folder / "releases" / "policy-v1" / "release.json").is_file()
    assert engine.docker("ps", "-aq", "--filter", "label=plumbline.step").stdout == ""


def _made(lineage: Any, run: str) -> dict[str, str]:
    """`STEP` → its key, and `STEP/ARTIFACT` → its digest, of all that is compared."""
    found = {}
    for step in (*COMPARED, *DATED):
        ran = lineage.step_run(run, step)
        found[step] = ran.data.tags["plumbline.step_key"]
        if step in COMPARED:
            found |= {f"{step}/{name}": item.digest for name, item in lineage.outputs(ran).items()}
    return found


def _containers(engine: Any, images: dict[str, str], project: Project, mlflow: str) -> dict[str, str]:
    from components.keys import make

    places = {name: project.folder / name for name in ("shared", "keys", "releases", "scratch")}
    for place in places.values():
        place.mkdir()
    make(places["keys"], owner=USER)
    shutil.copytree(project.folder / "data", places["shared"] / "data")
    shutil.copyfile(project.folder / "data.dvc", places["shared"] / "data.dvc")
    for name in ("releases", "scratch"):
        os.chown(places[name], USER, USER)
    for parent in (project.folder, *project.folder.parents):
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    volumes = {"data": places["shared"], **{name: places[name] for name in ("keys", "releases", "scratch")}}
    return engine.variables | {
        "PLUMBLINE_RUNTIME": "docker",
        "PLUMBLINE_IMAGE_DATA": images["pipeline-data"],
        "PLUMBLINE_IMAGE_TRAIN": images["pipeline-train"],
        "PLUMBLINE_DOCKER_VOLUMES": json.dumps({name: str(place) for name, place in volumes.items()}),
        "PLUMBLINE_KEYS": str(places["keys"] / "review"),
        "MLFLOW_TRACKING_URI": mlflow,
    }


class _services:  # noqa: N801  (used like a function)
    """PostgreSQL and an MLflow server whose artifacts go through it: addresses of MLflow and of Airflow's database."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def __enter__(self) -> tuple[str, str]:
        from plumbline_airflow import postgres
        from plumbline_airflow.home import Home

        if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
            pytest.skip("PostgreSQL's server is not on this machine (Debian: postgresql)")
        home = Home(self.project.folder)
        made = postgres.cluster(home, _free_port())
        self.database = postgres.start(made, self.project.folder / "postgres.log")
        port = _free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--artifacts-destination", str(self.project.folder / "mlartifacts")]
        environment = self.project.environment | {"MLFLOW_BACKEND_STORE_URI": made.address("mlflow")}
        environment.pop("MLFLOW_TRACKING_URI")
        with (self.project.folder / "mlflow.log").open("wb") as log:
            self.mlflow = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        address = f"http://127.0.0.1:{port}"
        limit = time.monotonic() + 120
        while not _answers(f"{address}/health"):
            assert time.monotonic() < limit, (self.project.folder / "mlflow.log").read_text()[-2000:]
            time.sleep(0.5)
        return address, made.address("airflow")

    def __exit__(self, *_: object) -> None:
        from plumbline_airflow import postgres, services

        services.end([self.mlflow])
        postgres.stop(self.database)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(project: Project, variables: dict[str, str], *, release: bool = False) -> str:
    """Run `align`, and `release` with an answer at the terminal, by Airflow's own `dag.test()`; id of the pipeline run."""
    from components.config import flatten, load_toml
    from plumbline_airflow.home import Home

    home = Home(project.folder)
    inherited = {name: value for name, value in project.environment.items() if name != "PLUMBLINE_ARTIFACTS" or not variables}
    environment = home.environment() | inherited | variables
    read, write = os.pipe()
    with home.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "plumbline_airflow.runner"],
            cwd=project.folder,
            env=environment | {"PLUMBLINE_REPLIES": str(write), "AIRFLOW_HOME": str(home.airflow)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            pass_fds=(write,),
        )
    os.close(write)
    with os.fdopen(read) as replies:
        assert replies.readline().strip() == "ready", project.log()
        conf = flatten(load_toml(project.folder / "small.toml"))
        state, run = _ask(process, replies, {"dag": "align", "conf": conf})
        assert state == "success", project.log()
        if release:
            answer = {"decision": "approve", "by": "ada", "channel": "terminal", "reason": "Read it; it is fine."}
            state, _ = _ask(process, replies, {"dag": "release", "conf": {"pipeline_run": run}, "answer": answer})
            assert state == "success", project.log()
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)
    return run


def _ask(process: subprocess.Popen[str], replies: Any, command: dict[str, Any]) -> tuple[str, str]:
    assert process.stdin is not None
    process.stdin.write(json.dumps(command) + "\n")
    process.stdin.flush()
    state, _, run = replies.readline().strip().partition(" ")
    return state, run
