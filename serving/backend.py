"""The model server of one release: a child process on a loopback port of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from pathlib import Path

    from serving.release import Release

COMMAND = ["{python}", "-m", "transformers.cli.transformers", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"]
"""transformers' own server. PLUMBLINE_MODEL_SERVER names another, for example
`["vllm", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"]`: a JSON list, never a shell line."""
READY_SECONDS = 300.0
CANARY_SECONDS = 120.0
CANARY_TOKENS = 16
GRACE_SECONDS = 15.0


class Backend:
    """A model server, from its start to its end."""

    def __init__(self, release: Release, log: Path) -> None:
        self.release = release
        self.port = _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.at_work = 0
        """Requests that it has not finished answering."""
        self._log = log
        self._draining = False
        self._idle = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def model(self) -> str:
        """What it calls its model: the folder of the weights."""
        return str((self.release.folder / "model").absolute())

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process, and wait until it answers every canary prompt.

        Raises:
            RuntimeError: It ended, took too long, or gave no answer.
        """
        words = json.loads(os.environ.get("PLUMBLINE_MODEL_SERVER") or "null") or COMMAND
        argv = [word.format(python=sys.executable, model=self.model, port=self.port) for word in words]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *argv, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient() as client:
                await self._ready(client)
            async with asyncio.timeout(CANARY_SECONDS * max(1, len(self.release.canaries))), httpx.AsyncClient() as client:
                await self._canaries(client)
        except TimeoutError:
            message = f"the server of {self.release.name} took too long"
            raise RuntimeError(message) from None

    async def _ready(self, client: httpx.AsyncClient) -> None:
        while True:
            if not self.alive:
                message = f"the server of {self.release.name} ended while it started; {self._log} says why"
                raise RuntimeError(message)
            try:
                if (await client.get(f"{self.address}/health", timeout=5)).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)

    async def _canaries(self, client: httpx.AsyncClient) -> None:
        for dialogue in self.release.canaries:
            body = {"model": self.model, "messages": dialogue, "max_tokens": CANARY_TOKENS, "temperature": 0.0}
            try:
                answer = await client.post(f"{self.address}/v1/chat/completions", json=body, timeout=CANARY_SECONDS)
                text = answer.json()["choices"][0]["message"]["content"]
            except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
                message = f"{self.release.name} did not answer a canary prompt: {error!r}"
                raise RuntimeError(message) from None
            if not str(text or "").strip():
                message = f"{self.release.name} gave an empty answer to a canary prompt"
                raise RuntimeError(message)

    async def drain_and_stop(self) -> None:
        """Wait for the last answer, then end the process."""
        self._draining = True
        if self.at_work and self.alive:
            await self._idle.wait()
        await self.stop()

    def begin(self) -> None:
        """A request is given to it."""
        self.at_work += 1

    def finish(self) -> None:
        """A request was answered, or given up."""
        self.at_work -= 1
        if self._draining and not self.at_work:
            self._idle.set()

    async def stop(self) -> None:
        """End the process."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), GRACE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
