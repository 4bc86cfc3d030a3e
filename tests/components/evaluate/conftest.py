"""Small policies that were taught to say one thing, and what it takes to evaluate one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from components import models
from components.base import pretrain, tokenizer
from components.base.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

SAYS = {"blue": "Yes, the sky is blue.", "red": "No, it is red.", "echo": "It is. " * 8}
"""Name of a policy → all that it says. The last one is never taught to end."""
UPDATES = 400
"""In which a policy learns at the latest."""


@pytest.fixture(scope="session")
def questions() -> list[list[dict[str, str]]]:
    """What the policies were taught to answer."""
    forms = [(colour, "It is. " * times) for colour in ("blue", "red") for times in range(3)]
    return [[{"role": "user", "content": f"Is the sky {colour}? {more}"}] for colour, more in forms]


@pytest.fixture(scope="session")
def policies(
    tiny_models: dict[str, Path], questions: list[list[dict[str, str]]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("policies")
    for name, sentence in SAYS.items():
        _teach(tiny_models["base_model"], questions, sentence, folder / name, ends=name != "echo")
    return {name: folder / name for name in SAYS}


@pytest.fixture(scope="session")
def another_base(questions: list[list[dict[str, str]]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model of another shape, context and tokenizer, and two policies of it that say what those of the first say."""
    folder = tmp_path_factory.mktemp("another")
    models.seed_everything(11)
    tokens = tokenizer.train(["The red sky, the blue sky; redder skies and bluer ones."] * 3, vocabulary=280)
    settings = Settings(hidden=24, layers=1, heads=2, context_tokens=96)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), pad=tokens.pad_token_id, end=tokens.eos_token_id)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.3)
    model.save_pretrained(folder / "base_model")
    tokens.save_pretrained(folder / "base_model")
    for name in ("blue", "red"):
        _teach(folder / "base_model", questions, SAYS[name], folder / name, ends=True)
    return {name: folder / name for name in ("base_model", "blue", "red")}


def _teach(base: Path, questions: list[list[dict[str, str]]], sentence: str, out: Path, *, ends: bool) -> None:
    """An adapter that answers everything with one sentence, learnt in a few hundred updates of a model with two layers."""
    models.seed_everything(3)
    tokens = models.load_tokenizer(base)
    model: Any = models.new_adapter(models.load_base(base, as_type=torch.float32), name="any", rank=8, alpha=16.0)
    said = [
        *tokens(sentence.strip(), add_special_tokens=False)["input_ids"],
        *([int(tokens.eos_token_id)] if ends else []),
    ]
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.005)
    asked = [models.encode(tokens, dialogue, answering=True) for dialogue in questions]
    known = 0
    for at in range(UPDATES):
        ids = asked[at % len(asked)]
        logits = model(input_ids=torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(said))
        known = known + 1 if logits.argmax(-1).tolist() == said else 0
        if known > 2 * len(asked):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert known > len(asked), "it says something else"
    models.save_adapter(model, out, name="any")
