"""`infra/compose.yaml` brought up whole: logins, a run whose steps are containers, an answer, the gateway, a restart."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.running import Api, free_port, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Project

POSTGRES = Path(__file__).parent / "postgres"
PROJECT = "plumbline-test"
HEALTHY_SECONDS = 300
RUN_SECONDS = 1500
KEY = "a key of the gateway"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(5400),
]


@dataclass(kw_only=True)
class Host(Api):
    """A host on which Compose runs everything."""

    engine: Any
    command: list[str]
    site: Path
    mlflow: str
    gateway: str

    def compose(self, *words: str) -> str:
        """`docker compose WORDS`, as docs/operations.md has it; what it said."""
        done = self._compose(*words)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        """The last words of every service."""
        return self._compose("logs", "--tail", "15").stdout

    def _compose(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.command, "-f", "compose.yaml", "--env-file", "compose/.env", *words]
        environment = os.environ | self.engine.variables
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(command, cwd=self.site, env=environment, text=True, check=False, **streams)

    def up(self) -> None:
        """Start everything, and wait until all of it is healthy."""
        self.compose("up", "-d")
        until(lambda: set(self.states().values()) == {"healthy"}, HEALTHY_SECONDS, lambda: f"{self.states()}\n{self.logs()}")

    def states(self) -> dict[str, str]:
        """Service → `healthy`, `starting` or another word, of all that stay up."""
        form = '{{.Label "com.docker.compose.service"}}={{.Status}}'
        said = self._containers(f"label=com.docker.compose.project={PROJECT}", form)
        states = dict(line.split("=", 1) for line in said)
        ended = states.pop("migrate")
        assert ended.startswith(("Exited (0)", "Up")), self.logs()
        return {name: state.rpartition("(")[2].rstrip(")") for name, state in states.items()}

    def steps(self) -> list[str]:
        """Containers of steps."""
        return self._containers("label=plumbline.step", "{{.ID}}")

    def _containers(self, which: str, form: str) -> list[str]:
        said = self.engine.docker("ps", "-a", "--filter", which, "--filter", f"network={PROJECT}", "--format", form)
        return list(said.stdout.splitlines())

    def clear(self) -> None:
        """Remove everything: first what starts steps, then steps that are still at work, which hold the network."""
        self.compose("stop")
        for step in self.steps():
            self.engine.docker("rm", "--force", step)
        self.compose("down", "--volumes")

    def ask(self, key: str) -> tuple[int, Any]:
        """Ask the model something through the gateway."""
        body = {"messages": [{"role": "user", "content": "What colour is the sky?"}], "max_tokens": 8}
        return request("POST", f"{self.gateway}/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})

    def champion(self, login: str) -> tuple[int, Any]:
        """What MLflow says about the released policy."""
        path = "/api/2.0/mlflow/registered-models/alias?name=policy&alias=champion"
        header = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        return request("GET", f"{self.mlflow}{path}", None, header)

    def login(self) -> str:
        """MLflow's."""
        lines = dict(line.split("=", 1) for line in (self.site / "compose" / "mlflow.env").read_text().splitlines())
        return f"{lines['MLFLOW_TRACKING_USERNAME']}:{lines['MLFLOW_TRACKING_PASSWORD']}"


@pytest.fixture(scope="module")
def stack(engine: Any, images: dict[str, str]) -> dict[str, str]:
    """The project's images, and `postgres`, one in the place of the official PostgreSQL."""
    postgres = "plumbline-test/postgres:test"
    words = ["--quiet", "--network", "host", "--build-arg", f"BASE_IMAGE={engine.base}", "--tag", postgres]
    engine.docker("build", *words, str(POSTGRES))
    return images | {"postgres": postgres}


@pytest.fixture(scope="module")
def host(
    engine: Any,
    compose: list[str],
    stack: dict[str, str],
    made_site: Callable[..., Path],
    made_project: Callable[[Path], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    if engine.docker("network", "create", PROJECT, check=False).returncode:
        pytest.skip("the engine can make no network of its own here")
    engine.docker("network", "rm", PROJECT)
    site = made_site(tmp_path_factory.mktemp("host") / "infra", DOCKER_SOCKET=engine.host.removeprefix("unix://"))
    _data(site / "data", made_project(tmp_path_factory.mktemp("data")))
    (site / "compose" / "secrets" / "gateway_keys").write_text(f"ada {hashlib.sha256(KEY.encode()).hexdigest()}\n")
    ports = {name: free_port() for name in ("AIRFLOW", "GATEWAY", "MLFLOW")}
    _settle(site / "compose" / ".env", stack, ports)
    passwords = json.loads((site / "compose" / "secrets" / "airflow_users").read_text())
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    made = Host(
        address=addresses["AIRFLOW"],
        passwords=passwords,
        engine=engine,
        command=compose,
        site=site,
        mlflow=addresses["MLFLOW"],
        gateway=addresses["GATEWAY"],
    )
    try:
        made.up()
        yield made
    finally:
        made.clear()


def _data(folder: Path, project: Project) -> None:
    """Preference data, their pin and the settings, put where the host has its data."""
    shutil.copytree(project.folder / "data", folder / "data")
    shutil.copyfile(project.folder / "data.dvc", folder / "data.dvc")
    small = (project.folder / "small.toml").read_text().replace("four_eyes = false", "four_eyes = true")
    (folder / "small.toml").write_text(small)


def _settle(path: Path, stack: dict[str, str], ports: dict[str, int]) -> None:
    """Fill in `.env` as its owner would."""
    text = path.read_text().replace("COMPOSE_PROJECT_NAME=plumbline\n", f"COMPOSE_PROJECT_NAME={PROJECT}\n")
    for name, image in stack.items():
        text = text.replace(f"={name}:TAG\n", f"={image}\n")
    more = {f"{name}_PORT": port for name, port in ports.items()}
    more |= {"POSTGRES_IMAGE": stack["postgres"], "PLUMBLINE_CONFIG": "/plumbline/data/small.toml"}
    path.write_text(text + "".join(f"{name}={value}\n" for name, value in more.items()))


@pytest.fixture(scope="module")
def released(host: Host) -> str:
    """The run of `align` that an engineer started, and that the reviewer approved."""
    until(lambda: host.call("engineer", "GET", "/dags/align")[0] == 200, 120, host.logs)
    run = host.trigger("engineer", "align", {})
    assert host.ended("align", run, RUN_SECONDS) == "success", f"{host.tasks('align', run)}\n{host.logs()}"
    until(lambda: _releases(host), 60, lambda: "the candidate started no release")
    (release,) = _releases(host)
    assert host.answer("reviewer", release, "Approve") == 200
    assert host.ended("release", release, RUN_SECONDS) == "success", host.log("release", release, "deploy")
    return run


def _releases(host: Host) -> list[str]:
    return [run["dag_run_id"] for run in host.call("auditor", "GET", "/dags/release/dagRuns")[1]["dag_runs"]]


def test_nobody_gets_in_without_a_login(host: Host) -> None:
    assert request("GET", f"{host.address}/api/v2/dags", None, {})[0] == 401
    assert host.champion("plumbline:wrong")[0] == 401
    assert host.ask("wrong")[0] == 401
    assert host.call("auditor", "POST", "/dags/align/dagRuns", {"logical_date": None, "conf": {}})[0] == 403


def test_what_a_person_approved_is_served(host: Host, released: str) -> None:
    code, answer = host.ask(KEY)
    version = request("GET", f"{host.gateway}/version", None, {})[1]

    assert (code, answer["model"]) == (200, "policy-v1"), answer
    assert answer["choices"][0]["message"]["content"]
    assert (version["serving"], version["pipeline_run"]) == ("policy-v1", released)
    assert host.champion(host.login())[1]["model_version"]["version"] == "1"
    assert host.steps() == []


def test_going_down_and_up_again_loses_nothing(host: Host, released: str) -> None:
    host.compose("down")
    assert host.engine.docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}").stdout == ""

    host.up()

    assert host.state("align", released) == "success"
    assert [host.state("release", run) for run in _releases(host)] == ["success"], "nothing starts by itself"
    assert host.champion(host.login())[1]["model_version"]["version"] == "1"
    until(lambda: host.ask(KEY)[0] == 200, 120, lambda: f"{host.ask(KEY)}")
    assert host.ask(KEY)[1]["model"] == "policy-v1"
