"""Small policies that were taught to say one thing, and what it takes to evaluate one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from components import models

if TYPE_CHECKING:
    from pathlib import Path

SAYS = {"blue": "Yes, the sky is blue.", "red": "No, it is red.", "echo": "It is. " * 8}
"""Name of a policy → all that it says. The last one is never taught to end."""
ENOUGH = 0.01
"""Loss of the last question at which a policy has learnt. [nat/token]"""


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


def _teach(base: Path, questions: list[list[dict[str, str]]], sentence: str, out: Path, *, ends: bool) -> None:
    """An adapter that answers everything with one sentence, learnt in a few hundred updates of a model with two layers."""
    models.seed_everything(3)
    tokenizer = models.load_tokenizer(base)
    model: Any = models.new_adapter(models.load_base(base, as_type=torch.float32), name="any", rank=8, alpha=32.0)
    said = [
        *tokenizer(sentence.strip(), add_special_tokens=False)["input_ids"],
        *([int(tokenizer.eos_token_id)] if ends else []),
    ]
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.02)
    asked = [models.encode(tokenizer, dialogue, answering=True) for dialogue in questions]
    for at in range(240):
        ids = asked[at % len(asked)]
        logits = model(input_ids=torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(said))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if at > len(asked) and loss < ENOUGH:
            break
    models.save_adapter(model, out, name="any")
