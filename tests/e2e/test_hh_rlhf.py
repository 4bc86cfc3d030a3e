"""The same pipeline on a few hundred real preference pairs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Project

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PLUMBLINE_SHARED_DATA", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("e2e-hh"),
    pytest.mark.skipif(not (SHARED / "hh-rlhf").is_dir(), reason="the real hh-rlhf file is not on this machine"),
]

SMALL = """
[start]
data_folder = "data-hh"
data_pin = "data-hh.dvc"

[approve]
four_eyes = false

[base]
hidden = 32
layers = 2
heads = 2
vocabulary = 1000
context_tokens = 512
max_updates = 30

[sft]
context_tokens = 512
max_updates = 4

[reward]
epochs = 1
long_dialogues = "leave_out"

[ppo]
updates = 1
rollouts = 8
minibatch = 8
epochs = 1
judged_prompts = 8
max_new_tokens = 16
long_prompts = "leave_out"

[evaluate]
prompts = 16
answer_tokens = 16
resamples = 1000
"""


def test_the_pipeline_reaches_a_candidate_on_real_pairs_and_says_what_it_does_not_know(project: Project) -> None:
    source = SHARED / "hh-rlhf" / "harmless-base.jsonl"
    project.run("-m", "components.importers", "hh-rlhf", str(source), "--out", "data-hh", "--limit", "300")
    project.pin("data-hh")
    (project.folder / "small.toml").write_text(SMALL)

    done = project.make("run")

    pack = (project.folder / done.stdout.split("Draft pack: ")[1].splitlines()[0]).parent
    summary = json.loads((pack / "summary.json").read_text())
    gaps = {gap["name"] for gap in summary["gaps"]}
    assert "Nobody is at the terminal, so the candidate waits." in done.stdout
    assert summary["verdict"] in {"undecided", "regressed"}, "300 pairs and a model this small can't show that anything is good"
    assert {"validate.annotators", "validate.golden"} <= gaps
