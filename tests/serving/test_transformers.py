"""The gateway before transformers' own server, with real models: tiny ones, each taught one answer."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serving")]

QUESTION = "Is the sky blue?"
ANSWERS = {"policy-v1": "Yes, the sky is blue.", "policy-v2": "No, it is red."}


def _release(running: Any, name: str, scratch: Path) -> None:
    """A release folder as `deploy` writes it: merged weights, tokenizer, generation settings, canary prompts."""
    from components import models
    from components.base import pretrain, tokenizer
    from components.base.config import Settings

    settings = Settings(hidden=32, layers=1, heads=2, context_tokens=64, epochs=100.0, max_updates=100, batch_rows=1)
    tokens = tokenizer.train([QUESTION, *ANSWERS.values()], vocabulary=320)
    places = {"end": tokens.eos_token_id, "pad": tokens.pad_token_id}
    dialogue = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWERS[name]}]
    rows = pretrain.pack([models.encode(tokens, dialogue, answering=False)], context_tokens=64, **places)
    models.seed_everything(1)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), **places)
    model = pretrain.pretrain(model, rows, settings, seed=1, checkpoints=scratch / name, tell=lambda *_: None).model
    folder = running.releases / name / "model"
    model.save_pretrained(folder, safe_serialization=True)
    tokens.save_pretrained(folder)
    (folder.parent / "release.json").write_text(json.dumps({"pipeline_run": "run-1", "artifacts": {"pack": f"sha256:{name}"}}))
    (folder.parent / "canaries.json").write_text(json.dumps([[{"role": "user", "content": QUESTION}]]))


def _asked(running: Any, **more: Any) -> httpx.Response:
    return running.ask(messages=[{"role": "user", "content": QUESTION}], max_tokens=24, temperature=0.0, **more)


def test_a_real_model_answers_streams_and_is_switched_under_load(gateway: Any, tmp_path: Path) -> None:
    """No request fails while version 2 takes over from version 1; afterwards the other model answers."""
    running = gateway(PLUMBLINE_MODEL_SERVER="", OMP_NUM_THREADS="1")
    running.patience = 300
    for name in ANSWERS:
        _release(running, name, tmp_path / "scratch")
    running.want("policy-v1")
    running.until(serving="policy-v1")

    answer = _asked(running)
    said = answer.json()
    assert said["choices"][0]["message"] == {"role": "assistant", "content": ANSWERS["policy-v1"]}
    assert (said["model"], answer.headers["X-Plumbline-Version"]) == ("policy-v1", "policy-v1")
    assert answer.headers["X-AI-Generated"] == "true"
    assert said["plumbline"]["disclosure"].startswith("You are talking to an AI system.")
    assert said["usage"]["completion_tokens"] > 3

    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24, "temperature": 0.0, "stream": True}
    with httpx.stream("POST", f"{running.address}/v1/chat/completions", json=body, timeout=120) as stream:
        lines = [line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: {")]
    parts = [json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines]
    assert "".join(parts).strip() == ANSWERS["policy-v1"]
    assert stream.headers["X-Plumbline-Version"] == "policy-v1"

    over, found = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            got = _asked(running)
            found.append(
                (got.status_code, got.headers.get("X-Plumbline-Version"), got.json()["choices"][0]["message"]["content"])
            )

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    running.want("policy-v2")
    running.until(serving="policy-v2")
    assert _asked(running).json()["choices"][0]["message"]["content"] == ANSWERS["policy-v2"]
    over.set()
    for client in clients:
        client.join()

    assert {status for status, _, _ in found} == {200}
    assert all(text == ANSWERS[version] for _, version, text in found), "the version named is the one that answered"
    assert {version for _, version, _ in found} >= {"policy-v1"}
    entries = [json.loads(line) for path in (running.state / "journal").iterdir() for line in path.read_text().splitlines()]
    assert len(entries) == len(found) + 3
    assert {entry["version"] for entry in entries} == set(ANSWERS)
    assert QUESTION not in json.dumps(entries), "what was said is kept only where somebody asked for it"
