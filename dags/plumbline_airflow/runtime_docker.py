"""Steps as containers of a Docker engine: an image by digest, an argument vector, a read-only root, no rights.

Airflow's DockerOperator gives the connection, the pull and the kill; the container is made here, because the operator
can neither drop capabilities nor tell one attempt's container from another's. Nothing is unpickled: the operator's
`retrieve_output` is not used.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowException
from docker.types import DeviceRequest, Mount

from components.catalog import STEPS
from plumbline_airflow import events, job, output
from plumbline_airflow.images import image
from plumbline_airflow.links import PackLink, RunLink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NETWORK = "host"
TMP_BYTES = 1 << 30


class StepOperator(DockerOperator):
    """Runs one step in a container of its own, and passes its output on line by line."""

    template_fields = ()
    operator_extra_links = (RunLink(), PackLink())
    ui_color = "#e4eef8"

    def __init__(self, *, step: str, **options: Any) -> None:
        network = os.environ.get("PLUMBLINE_DOCKER_NETWORK", NETWORK)
        super().__init__(image=image(STEPS[step].image), network_mode=network, mount_tmp_dir=False, **options)
        self.step = step

    def execute(self, context: Mapping[str, Any]) -> None:
        """Run the step; see `output.judge` for how it ends."""
        run = job.pipeline_run(context)
        events.tell("begin", self.step, run)
        labels = _labels(context, run)
        self._sweep(labels)
        if not self.cli.images(name=self.image):
            self.cli.pull(self.image)
        self.container = self._create(run, labels, context)
        try:
            complaint = self._follow(context)
            code = int(self.cli.wait(self.container["Id"])["StatusCode"])
        finally:
            self.cli.remove_container(self.container["Id"], force=True)
        output.judge(self.step, code, complaint)

    def on_kill(self) -> None:
        """Stop the container; what it had begun is resumed by the next attempt."""
        if self.hook.client_created and getattr(self, "container", None):
            self.cli.stop(self.container["Id"], timeout=10)

    def _sweep(self, labels: Mapping[str, str]) -> None:
        """End containers that an attempt left behind whose worker was killed: they would go on beside this one."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        for left in self.cli.containers(all=True, filters={"label": wanted}):
            self.log.warning("ending the container %s, which an earlier attempt left behind", left["Id"][:12])
            self.cli.remove_container(left["Id"], force=True)

    def _create(self, run: str, labels: Mapping[str, str], context: Mapping[str, Any]) -> dict[str, Any]:
        limits = self.cli.create_host_config(
            cap_drop=["ALL"],
            device_requests=_gpus() if STEPS[self.step].gpu else None,
            init=True,
            mounts=mounts(self.step),
            network_mode=self.network_mode,
            read_only=True,
            security_opt=["no-new-privileges"],
            shm_size=TMP_BYTES,
            tmpfs={"/tmp": f"size={TMP_BYTES}"},  # noqa: S108  (inside the container)
        )
        made: dict[str, Any] = self.cli.create_container(
            image=self.image,
            command=job.command(self.step, run),
            entrypoint=[],
            environment=self._environment(context),
            host_config=limits,
            labels=dict(labels),
            user=os.environ.get("PLUMBLINE_DOCKER_USER"),
        )
        return made

    def _environment(self, context: Mapping[str, Any]) -> dict[str, str]:
        digest = str(self.cli.inspect_image(self.image)["Id"])
        return job.contained(self.step, context) | job.secrets(self.step) | {"PLUMBLINE_IMAGE_DIGEST": digest}

    def _follow(self, context: Mapping[str, Any]) -> str:
        """Start the container and pass on what it prints; what it printed on stderr."""
        stream = self.cli.attach(self.container["Id"], stream=True, demux=True)
        self.cli.start(self.container["Id"])
        complaint: list[str] = []
        for is_error, line in _lines(stream):
            if is_error:
                self.log.info("%s", line)
                complaint.append(line + "\n")
            else:
                output.heed(self, line, context)
        return "".join(complaint)


def mounts(step: str) -> list[Mount]:
    """What a step's container sees of the host: its scratch and, as far as it needs them, data, releases and its own key.

    PLUMBLINE_DOCKER_VOLUMES says where they are: a JSON object of the names `data`, `keys`, `releases` and `scratch`, each
    a path on the engine's machine or a named volume. `keys` holds a folder per step, as `python -m components.keys` makes it.

    Raises:
        AirflowException: One that the step needs is not named.
    """
    places = json.loads(os.environ.get("PLUMBLINE_DOCKER_VOLUMES") or "{}")
    made = []
    for name, read_only in job.needs(step).items():
        place = places.get(name, "")
        if not place:
            message = (
                f"PLUMBLINE_DOCKER_VOLUMES must name the place of `{name}`, a path or a volume; infra/README.md shows how."
            )
            raise AirflowException(message)
        source = f"{place}/{step}" if name == "keys" else place
        kind = "bind" if source.startswith("/") else "volume"
        made.append(Mount(target=f"/plumbline/{name}", source=source, type=kind, read_only=read_only))
    return made


def _gpus() -> list[DeviceRequest] | None:
    """All GPUs of the host, where PLUMBLINE_GPUS says that there are some."""
    count = int(os.environ.get("PLUMBLINE_GPUS", "0"))
    return [DeviceRequest(count=count, capabilities=[["gpu"]])] if count else None


def _labels(context: Mapping[str, Any], run: str) -> dict[str, str]:
    task = context["ti"]
    return {
        "plumbline.dag": task.dag_id,
        "plumbline.dag_run": task.run_id,
        "plumbline.step": task.task_id,
        "plumbline.run": run,
    }


def _lines(stream: Any) -> Iterator[tuple[bool, str]]:
    """Whole lines of both streams, `(is stderr, line)`. A chunk may end inside a line, and inside a character."""
    rest = [b"", b""]
    for chunks in stream:
        for index, chunk in enumerate(chunks):
            *whole, rest[index] = (rest[index] + (chunk or b"")).split(b"\n")
            yield from ((index == 1, line.decode(errors="replace")) for line in whole)
    yield from ((index == 1, line.decode(errors="replace")) for index, line in enumerate(rest) if line)
