"""What tests of several folders use: a Docker engine, Compose; a pipeline run that was finished and approved."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.releasing import Finished, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many tests as cores run at once, and each step of theirs as one thread


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    return finish(tmp_path / "run")


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """Compose's command; skips where it is not on the machine."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("Compose is not on this machine (Debian: docker-compose)")


@pytest.fixture(scope="session")
def made_site() -> Callable[..., Path]:
    """Copies infra/compose.yaml and what belongs to it into a folder, where prepare.sh makes secrets, keys and `.env`."""
    return _site


def _site(folder: Path, **places: str) -> Path:
    if not (folder / "compose.yaml").exists():
        ours = shutil.ignore_patterns("secrets", ".env", "mlflow.env")
        shutil.copytree(ROOT / "infra" / "compose", folder / "compose", ignore=ours)
        shutil.copyfile(ROOT / "infra" / "compose.yaml", folder / "compose.yaml")
    given = {"DATA": str(folder / "data"), "KEYS": str(folder / "keys"), "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    command = [folder / "compose" / "prepare.sh"]
    subprocess.run(command, env=os.environ | given | places, check=True, capture_output=True)
    return folder


@dataclass(frozen=True)
class Engine:
    """A Docker engine, with an image that has Python in it."""

    host: str
    base: str

    @property
    def variables(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.host}

    def docker(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`docker WORDS`, by the client that belongs to the engine: others lack BuildKit."""
        client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        options = {"capture_output": True, "text": True, "check": True} | options
        return subprocess.run([client, *words], env=os.environ | self.variables, **options)  # noqa: PLW1510  (in options)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine that PLUMBLINE_TEST_ENGINE names, or one started here, without a bridge; skips where neither can be had."""
    given = os.environ.get("PLUMBLINE_TEST_ENGINE")
    if given:
        yield _with_base(Engine(given, "plumbline-test/base:bookworm"), tmp_path_factory)
        return
    if not shutil.which("dockerd") or os.getuid() != 0:
        pytest.skip("no Docker engine: needs dockerd (Debian's docker.io) and root, or PLUMBLINE_TEST_ENGINE")
    folder = tmp_path_factory.mktemp("engine")
    socket = f"unix://{folder}/docker.sock"
    command = ["dockerd", "--iptables=false", "--bridge=none", f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
    command += [f"--host={socket}", f"--pidfile={folder}/pid"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    found = Engine(socket, "plumbline-test/base:bookworm")
    try:
        limit = time.monotonic() + 60
        while found.docker("info", check=False).returncode:
            if process.poll() is not None or time.monotonic() > limit:
                pytest.skip(f"no Docker engine can start here: {(folder / 'log').read_text()[-300:]}")
            time.sleep(0.5)
        yield _with_base(found, tmp_path_factory)
    finally:
        process.terminate()
        process.wait(60)
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """The engine leaves its network namespace mounted; nobody could remove the folder."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted((place for place in mounted if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=True)


def _with_base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Debian with Python, made by debootstrap: no registry of images is asked."""
    if engine.docker("image", "inspect", engine.base, check=False).returncode == 0:
        return engine
    if not shutil.which("debootstrap"):
        pytest.skip("no base image: needs debootstrap")
    root = tmp_path_factory.mktemp("base") / "root"
    include = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", include, "bookworm", str(root)], check=True, capture_output=True)
    shutil.copyfile("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as packed:
        engine.docker("import", "-", engine.base, stdin=packed.stdout)
    return engine
