"""Start steps without paying for their imports each time.

Importing MLflow, transformers and peft takes longer than most steps of a small run work. A server imports them once and
forks a process per step; standard library only until then.

    python -m components.warmstart --serve SOCKET                 the server; ends when its parent does
    python -m components.warmstart STEP --pipeline-run ID         same output, same exit code as python -m components.STEP

The client hands its working folder, environment and standard streams to the server and waits. When the client is killed
the step ends, and the other way round. Without a server the client becomes the step.
A forked step has nothing of an earlier one: the server imports, and does nothing else. It has one thread, so a fork
copies no lock that somebody holds.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from components import quiet

ALWAYS = (
    "components.lineage",
    "components.entrypoint",
    "in_toto.models.metadata",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
)
"""What every step needs. Imported before the first request is answered. MLflow's stores are what a step would import, one
second each time, on its first question to a database."""
LATER = (
    "torch",
    "transformers.models.llama.modeling_llama",
    "tokenizers",
    "peft",
    "trl.trainer.sft_trainer",
)
"""What training steps need, in that order. Imported only while a step is at work, so that a run in which every step is
reused never pays for it."""
BUSY_SECONDS = 1.5
"""A step that has run for so long is at work."""
GRACE_SECONDS = 5.0
STREAMS = 3
HEADER_BYTES = 8


def main() -> None:
    """Serve, or run one step."""
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        sys.exit(run(sys.argv[1], sys.argv[2:]))


def run(step: str, arguments: list[str]) -> int:
    """Run a step on the server that PLUMBLINE_WARM names, or become it."""
    os.environ.setdefault("PLUMBLINE_SPAWNED_AT", str(time.time()))
    address = os.environ.get("PLUMBLINE_WARM", "")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", f"components.{step}", *arguments])  # noqa: S606  (argv, no shell)
    folder, environment = str(Path.cwd()), dict(os.environ)
    job = json.dumps({"step": step, "arguments": arguments, "folder": folder, "environment": environment}).encode()
    streams = array.array("i", [0, 1, 2]).tobytes()
    header = len(job).to_bytes(HEADER_BYTES, "big")
    connection.sendmsg([header], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    connection.sendall(job)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    answer = connection.recv(HEADER_BYTES)
    return int(answer) if answer else 128 + signal.SIGKILL


def serve(address: Path) -> None:
    """Import what every step needs, then fork a process for each request until the parent process is gone."""
    parent = os.getppid()
    quiet.settle()
    usual = gc.get_threshold()
    gc.set_threshold(quiet.GARBAGE_AT)
    for name in ALWAYS:
        importlib.import_module(name)
    if "sqlalchemy.orm" in sys.modules:
        sys.modules["sqlalchemy.orm"].configure_mappers()
    gc.freeze()
    gc.set_threshold(*usual)
    server = _listen(address)
    later = list(LATER)
    children: dict[int, float] = {}
    while os.getppid() == parent:
        busy = any(time.monotonic() - begin > BUSY_SECONDS for begin in children.values())
        if select.select([server], [], [], 0.1)[0]:
            children[_fork(server)] = time.monotonic()
        elif busy and later:
            with contextlib.suppress(ImportError):
                importlib.import_module(later.pop(0))
        for child in [child for child in children if os.waitpid(child, os.WNOHANG)[0]]:
            del children[child]
    address.unlink(missing_ok=True)


def _listen(address: Path) -> socket.socket:
    address.parent.mkdir(parents=True, exist_ok=True)
    address.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(address))
    address.chmod(0o600)
    server.listen()
    return server


def _fork(server: socket.socket) -> int:
    connection, _ = server.accept()
    header, ancillary, _, _ = connection.recvmsg(HEADER_BYTES, socket.CMSG_LEN(STREAMS * array.array("i").itemsize))
    streams = array.array("i")
    streams.frombytes(ancillary[0][2])
    size = int.from_bytes(header, "big")
    text = b""
    while len(text) < size:
        text += connection.recv(size - len(text))
    child = os.fork()
    if child == 0:
        server.close()
        os._exit(_child(json.loads(text), connection, list(streams)))
    for stream in streams:
        os.close(stream)
    connection.close()
    return child


def _child(job: dict[str, Any], connection: socket.socket, streams: list[int]) -> int:
    os.setsid()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = [f"components.{job['step']}", *job["arguments"]]
    threading.Thread(target=_end_with_client, args=(connection,), daemon=True).start()
    code = _step(job["step"])
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        connection.sendall(str(code % 256).encode())
    return code % 256


def _step(name: str) -> int:
    from components.entrypoint import main as step_main  # noqa: PLC0415  (imported by the server)

    try:
        step_main(name)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _end_with_client(connection: socket.socket) -> None:
    """Waits until the client is gone, then ends this process and what it started."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
