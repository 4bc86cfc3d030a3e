"""The gateway: an OpenAI-compatible endpoint that says which version answers, and that it is an AI.

    POST /v1/chat/completions   passed on to the model server of the current release
    GET  /v1/models             the current release
    GET  /version               what is served, what is wanted, and why they differ, where they do
    GET  /health                200 once something is served

Every answer carries `X-Plumbline-Version`, `X-Plumbline-Pack` (digest of the release's documents) and
`X-AI-Generated: true`, and a JSON answer the field `plumbline` with a sentence for people (EU AI Act, Article 50(1)); whoever
builds a page on this endpoint has to show it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from serving import release
from serving.backend import Backend
from serving.journal import DAYS, Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DISCLOSURE = "You are talking to an AI system. Its answers are generated and can be wrong."
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 600.0
PATIENCE_SECONDS = 60.0
"""How long a request waits for a server in the place of one that died."""
BODY_BYTES = 4 << 20


class Gateway:
    """The server that answers now, and the one that is to answer next."""

    def __init__(self, releases: Path, logs: Path) -> None:
        self.releases, self.logs = releases, logs
        self.now: Backend | None = None
        self.error = ""
        self.refused = ""
        """Name of the release that failed its canaries; it is not tried again until CURRENT names another."""
        self._ending: set[asyncio.Task[None]] = set()

    async def follow(self) -> None:
        """Serve what CURRENT names, for ever. A server that died is started again."""
        while True:
            with contextlib.suppress(OSError):
                await self.step()
            await asyncio.sleep(LOOK_SECONDS)

    async def step(self) -> None:
        """Switch, if something else is wanted than is served."""
        name = release.wanted(self.releases)
        serving = self.now.release.name if self.now and self.now.alive else ""
        if name != self.refused:
            self.refused = ""
        if not name or name in {serving, self.refused}:
            return
        try:
            following = Backend(release.read(self.releases, name), self.logs / f"{name}.log")
        except ValueError as error:
            self.refused, self.error = name, str(error)
            return
        try:
            await following.start()
        except RuntimeError as error:
            self.refused, self.error = name, str(error)
            await following.stop()
            return
        except BaseException:
            await following.stop()
            raise
        before, self.now, self.error = self.now, following, ""
        if before:
            task = asyncio.create_task(before.drain_and_stop())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def end(self) -> None:
        """End every server."""
        for task in self._ending:
            task.cancel()
        if self.now:
            await self.now.stop()

    def version(self) -> dict[str, Any]:
        """What is served and what is wanted."""
        serving = self.now.release if self.now else None
        return {
            "serving": serving.name if serving else "",
            "pipeline_run": serving.pipeline_run if serving else "",
            "pack": serving.pack if serving else "",
            "wanted": release.wanted(self.releases),
            "refused": self.refused,
            "error": self.error,
            "disclosure": DISCLOSURE,
        }


def callers() -> dict[str, str]:
    """sha256 of a key in hex → caller's name, from the file that PLUMBLINE_GATEWAY_KEYS names: lines `NAME HEX`."""
    path = os.environ.get("PLUMBLINE_GATEWAY_KEYS")
    if not path:
        return {}
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {digest: name for name, digest in (line.split() for line in lines if line.strip())}


def application(releases: Path, state: Path) -> FastAPI:
    """The gateway over a folder of releases."""
    gateway = Gateway(releases, state)
    days = int(os.environ.get("PLUMBLINE_JOURNAL_DAYS", DAYS))
    journal = Journal(state / "journal", days=days, content=os.environ.get("PLUMBLINE_JOURNAL_CONTENT") == "1")
    keys = callers()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(state.mkdir, parents=True, exist_ok=True)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        app.state.client = httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=limits)
        following = asyncio.create_task(gateway.follow())
        yield
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await gateway.end()
        await app.state.client.aclose()

    app = FastAPI(title="Plumbline gateway", lifespan=life, docs_url=None, redoc_url=None)

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok" if gateway.now else "starting"}, 200 if gateway.now else 503)

    @app.get("/version")
    async def version() -> dict[str, Any]:
        return gateway.version()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        found = [{"id": gateway.now.release.name, "object": "model", "owned_by": "plumbline"}] if gateway.now else []
        return {"object": "list", "data": found}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        caller = _caller(request, keys)
        body = await _body(request)
        if gateway.now is None:
            raise HTTPException(503, "No release is served yet.")
        return await _answered(gateway, app.state.client, body, _Note(journal, caller, body))

    return app


class _Note:
    """The journal's entry about one request."""

    def __init__(self, journal: Journal, caller: str, body: dict[str, Any]) -> None:
        self.journal, self.caller, self.body = journal, caller, body
        self.began = time.perf_counter()

    def write(self, version: str, status: int, answer: bytes) -> None:
        entry = {
            "caller": self.caller,
            "version": version,
            "status": status,
            "seconds": round(time.perf_counter() - self.began, 3),
        }
        said = {"messages": self.body.get("messages"), "answer": answer.decode(errors="replace")}
        self.journal.write(entry, said=said)


def _caller(request: Request, keys: dict[str, str]) -> str:
    """Who asks.

    Raises:
        HTTPException: Keys are asked for, and this is none of them.
    """
    if not keys:
        return "anonymous"
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    digest = hashlib.sha256(given.encode()).hexdigest()
    for known, name in keys.items():
        if hmac.compare_digest(known, digest):
            return name
    raise HTTPException(401, "Give a key of this gateway: `Authorization: Bearer KEY`.")


async def _body(request: Request) -> dict[str, Any]:
    text = await request.body()
    if len(text) > BODY_BYTES:
        raise HTTPException(413, f"A request may have {BODY_BYTES} bytes.")
    try:
        body = json.loads(text)
    except ValueError:
        raise HTTPException(400, "The request is not JSON.") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "The request is not a JSON object.")
    return body


async def _answered(gateway: Gateway, client: httpx.AsyncClient, body: dict[str, Any], note: _Note) -> Response:
    """The answer of the server that is served now. One that died before it said a word is replaced, and asked again."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while True:
        backend = gateway.now
        assert backend is not None, "the caller has seen one; a server is replaced, never taken away"
        backend.begin()
        try:
            return await _passed_on(client, backend, body, note)
        except httpx.TransportError:
            backend.finish()
            if time.monotonic() > limit:
                note.write(backend.release.name, 502, b"")
                raise HTTPException(502, "The model server did not answer.") from None
        await asyncio.sleep(LOOK_SECONDS)


async def _passed_on(client: httpx.AsyncClient, backend: Backend, body: dict[str, Any], note: _Note) -> Response:
    """The model server's answer, whole or in parts as it was asked for.

    Raises:
        httpx.TransportError: It said nothing, or, asked for a whole answer, not all of it.
    """
    said = {"X-Plumbline-Version": backend.release.name, "X-Plumbline-Pack": backend.release.pack, "X-AI-Generated": "true"}
    asked = client.build_request("POST", f"{backend.address}/v1/chat/completions", json=body | {"model": backend.model})
    answer = await client.send(asked, stream=True)
    if body.get("stream"):
        kind = answer.headers.get("content-type")
        return StreamingResponse(_parts(answer, backend, note), answer.status_code, said, media_type=kind)
    try:
        content = await answer.aread()
    finally:
        await answer.aclose()
    backend.finish()
    note.write(backend.release.name, answer.status_code, content)
    return JSONResponse(_disclosed(content, backend), answer.status_code, said)


async def _parts(answer: httpx.Response, backend: Backend, note: _Note) -> AsyncIterator[bytes]:
    seen = b""
    try:
        async for part in answer.aiter_raw():
            seen += part
            yield part
    finally:
        await answer.aclose()
        backend.finish()
        note.write(backend.release.name, answer.status_code, seen)


def _disclosed(content: bytes, backend: Backend) -> Any:
    """The answer with the name of the release for `model`, and the sentence for people."""
    try:
        answer = json.loads(content)
    except ValueError:
        return {"error": {"message": "The model server's answer is not JSON."}}
    if isinstance(answer, dict):
        answer["model"] = backend.release.name
        answer["plumbline"] = {"version": backend.release.name, "disclosure": DISCLOSURE}
    return answer
