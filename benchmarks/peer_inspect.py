"""Inspect's transformers provider on a model and its prompts. Runs in Inspect's environment, started by `suites_speed.py`.

python peer_inspect.py MODEL DIALOGUES TOKENS
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from inspect_ai import Task
from inspect_ai import eval as run_task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig, get_model

KINDS = {"user": ChatMessageUser, "assistant": ChatMessageAssistant}
CONNECTIONS = 256
"""Samples in flight, as many as our batch has."""


def main() -> None:
    """Answer every dialogue twice, and count the second time: the first loads and warms."""
    folder, dialogues, tokens = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3])
    config = GenerateConfig(max_tokens=tokens, temperature=1.0, seed=0, max_connections=CONNECTIONS)
    model = get_model("hf/merged", model_path=folder, device="cpu", batch_size=CONNECTIONS, config=config)
    few = dialogues[:8]
    _ask(few, model)
    begin = time.process_time()
    _ask(dialogues, model)
    print(json.dumps({"answers_per_second": len(dialogues) / (time.process_time() - begin)}))


def _ask(dialogues: list[list[dict[str, str]]], model: object) -> None:
    samples = [Sample(input=[KINDS[turn["role"]](content=turn["content"]) for turn in dialogue]) for dialogue in dialogues]
    with tempfile.TemporaryDirectory() as logs:
        [log] = run_task(Task(dataset=samples), model=model, log_dir=logs, display="none", max_samples=CONNECTIONS)
    if log.status != "success":
        sys.exit(f"Inspect ended with {log.status}: {log.error}")


if __name__ == "__main__":
    main()
