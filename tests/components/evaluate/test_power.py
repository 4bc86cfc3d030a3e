"""The default project asks so many questions that no gate is left to luck: counted, not measured."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from components import records
from components.evaluate import gates, statistics, suite
from components.evaluate.config import Settings
from components.evaluate.material import Material, spoken
from components.evaluate.panel import Asker, Reading
from components.evaluate.texts import HeldOut, held_out
from components.testbed.folder import write_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.evaluate.statistics import Numbers
    from components.evaluate.suite import Metric, Suite
    from components.models import Dialogue

ROOT = Path(__file__).parents[3]
GATES = 24
"""As many as the rule allows for. The default project has one for each gated metric, and `utility over base`."""


class Silent(Asker):
    """Says nothing and finds everything equally likely: enough to count what a suite asks."""

    def __init__(self) -> None:
        self.panel = Reading(Path("base"), None, 128)

    def answers(self, dialogues: Sequence[Dialogue], **_: Any) -> list[list[str]]:
        return [[""] for _ in dialogues]

    def beginnings(self, dialogues: Sequence[Dialogue], words: Sequence[str]) -> list[float]:
        return [-1.0] * len(words)

    def likelihoods(self, dialogues: Sequence[Dialogue], endings: Sequence[str]) -> list[float]:
        return [-1.0] * len(endings)

    def texts(self, texts: Sequence[HeldOut]) -> list[float]:
        return [-1.0] * len(texts)


def _gated() -> dict[str, tuple[Suite, Metric]]:
    """Every metric that decides in the default project."""
    return {
        metric.name: (each, metric)
        for each in suite.known()
        for metric in each.metrics
        if metric.margin is not None and metric.where != "elsewhere"
    }


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Gated metric → items of the default project that say something of it."""
    settings = Settings(**tomllib.loads((ROOT / "configs/testbed.toml").read_text(encoding="utf-8"))["evaluate"])
    world = tmp_path_factory.mktemp("world") / "data"
    write_world(world, seed=0, size="full")
    every = list(records.read(world / "prompts.jsonl", records.Prompt))
    kept = [each.text for each in records.read(world / "corpus.jsonl", records.Text) if held_out(each.id)]
    material = Material(
        [prompt for prompt in every if prompt.split == "evaluation"][: settings.prompts],
        seed=0,
        most=settings.suite_prompts,
        fits=lambda _: True,
        used=lambda: spoken(world / "corpus.jsonl", every),
        texts=[HeldOut(text, {Path("base"): ([1], [2])}, 1) for text in kept[: settings.perplexity_texts]],
    )
    found = {each.name: each.run(material, Silent()).scores for each, _ in _gated().values()}
    return {name: _said(found[each.name][name]) for name, (each, _) in _gated().items()}


def _said(values: Numbers) -> int:
    return int((~np.isnan(values.reshape(len(values), -1)).any(axis=1)).sum())


@pytest.mark.parametrize("name", _gated())
def test_the_questions_suffice_for_the_margin(items: dict[str, int], name: str) -> None:
    """By the suite's own margin, also where the project loosens it; the stated variance is that of policies far apart."""
    metric = _gated()[name][1]
    assert metric.margin is not None
    assert metric.variance is not None, "a gated metric says how much its items scatter at worst"

    needed = gates.items_needed(metric.margin, metric.variance, is_ratio=metric.form in gates.TIMES)

    assert items[name] >= needed


@pytest.mark.parametrize("name", [name for name, (_, metric) in _gated().items() if metric.form == "share"])
def test_a_share_is_decided_at_its_worst_discordance(items: dict[str, int], name: str) -> None:
    """By the interval that the gate uses: half of the discordant items better, half worse; then some worse ones more.

    Whatever is seen to lose less than half a margin passes.
    """
    each, metric = _gated()[name]
    assert metric.variance is not None
    assert metric.margin is not None
    n, lost = items[name], math.floor(items[name] * metric.margin * 0.45)
    discordant = math.floor(n * metric.variance)
    better, worse = (discordant - lost) // 2, (discordant + lost) // 2
    candidate, reference = np.zeros(n), np.zeros(n)
    candidate[:better], reference[better : better + worse] = 1.0, 1.0
    if metric.better == "lower":
        candidate, reference = reference, candidate

    found = statistics.paired_shares(candidate, reference)
    [gate] = gates.decide([gates.Measured(each, metric, "SFT policy", found)], margins={}, floors={}, ceilings={}, advisory=[])

    assert (gate.verdict, gate.n) == ("pass", n)
    assert 0.3 * metric.margin < abs(found.value) < 0.5 * metric.margin


def test_the_rule_allows_for_as_many_gates_as_there_are() -> None:
    """One for each gated metric and `utility over base`. 2 · 1.95996 ≥ 3.07775 + 0.84162 with 24 of them, not with 25."""
    point = NormalDist().inv_cdf

    assert len(_gated()) + 1 <= GATES
    assert point(1 - gates.LEVEL / GATES) + gates.POWER_Z <= 2 * statistics.Z
    assert point(1 - gates.LEVEL / (GATES + 1)) + gates.POWER_Z > 2 * statistics.Z


def test_the_items_needed_by_hand() -> None:
    """0.3 · (3.91993 / 0.2)² = 115.2 and 0.3 · (3.91993 / 0.15)² = 204.9; of a ratio, 0.5 · (3.91993 / ln 1.3)² = 111.6."""
    assert gates.items_needed(0.2, 0.3) == 116
    assert gates.items_needed(0.15, 0.3) == 205
    assert gates.items_needed(1.3, 0.5, is_ratio=True) == 112
