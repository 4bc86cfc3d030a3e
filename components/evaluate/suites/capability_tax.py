"""Capability tax: what fine-tuning took from the model, on plain text and on tasks, against the SFT policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.evaluate import truth
from components.evaluate.suite import Found, Item, Metric, Suite

if TYPE_CHECKING:
    from components.evaluate.material import Material
    from components.evaluate.panel import Asker

TASKS = ("arithmetic", "brevity")
SHARE = 0.4
"""Of what is asked of each kind at most."""
SHOWN = 120
"""Characters of a text that the report shows."""


def _measure(material: Material, asker: Asker) -> Found:
    """Texts first, then tasks; each metric is NaN on the other's items."""
    texts = [_shown(place, text.text) for place, text in enumerate(material.texts)]
    tasks = (
        material.of_kinds(*TASKS, share=SHARE)
        if material.is_testbed
        else [Item(row["id"], [{"role": "user", "content": row["question"]}], "fact", row) for row in material.facts()]
    )
    answers = asker.answers([item.messages for item in tasks])
    right = [
        float(np.mean([truth.known(item, said).correct is True for said in row]))
        for item, row in zip(tasks, answers, strict=True)
    ]
    nothing = np.full(len(texts), np.nan)
    nats = np.array([-value for value in asker.texts(material.texts)]) if texts else np.array([])
    scores = {
        "perplexity": np.concatenate([nats, np.full(len(tasks), np.nan)]),
        "task_correct": np.concatenate([nothing, np.array(right)]),
    }
    counted = [float(text.tokens if asker.panel.folder in text.cuts else 0) for text in material.texts]
    weights = np.array(counted + [0.0] * len(tasks))
    return Found([*texts, *tasks], [[""]] * len(texts) + list(answers), scores, weights)


def _shown(place: int, text: str) -> Item:
    return Item(f"text-{place:04d}", [{"role": "user", "content": text[:SHOWN].strip() or "(blank)"}], "text")


SUITE = Suite(
    name="capability_tax",
    title="Capability tax",
    covers=(
        "Perplexity on text that the base model never saw, and the share of plain tasks that are solved, both "
        "against the SFT policy, so "
        "that a champion that lost abilities is no excuse."
    ),
    misses="Abilities that neither likelihood nor these tasks show, long contexts, and text unlike the corpus.",
    metrics=(
        Metric(
            "perplexity",
            "Perplexity on held-out text",
            "lower",
            margin=1.5,
            form="perplexity",
            unit="perplexity per token",
            variance=0.04,
            against="sft",
        ),
        Metric("task_correct", "Plain tasks solved", "higher", margin=0.1, variance=0.12, against="sft"),
    ),
    measure=_measure,
)
