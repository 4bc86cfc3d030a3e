from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from components.base import pretrain, tokenizer
from components.base.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

TINY = {"hidden": 16, "heads": 2, "layers": 2, "vocabulary": 300, "context_tokens": 32, "batch_rows": 2, "learning_rate": 1e-2}
TEXTS = [f"<|user|>\nWhat is {n}?<|end|>\n<|assistant|>\nIt is {n}.<|end|>\n" for n in range(40)]


def test_whole_texts_are_packed_and_each_is_closed_once() -> None:
    rows = pretrain.pack([[5, 6], [7, 1], [8, 9, 10]], context_tokens=6, end=1, pad=0)

    # 5 6 1 | 7 1 fit into six tokens; 8 9 10 1 do not fit behind them.
    assert rows.tolist() == [[5, 6, 1, 7, 1, 0], [8, 9, 10, 1, 0, 0]]


def test_a_text_longer_than_a_row_is_cut_and_nothing_is_lost() -> None:
    rows = pretrain.pack([[2, 3, 4, 5, 6]], context_tokens=4, end=1, pad=0)

    assert rows.tolist() == [[2, 3, 4, 5], [6, 1, 0, 0]]


def test_the_tokenizer_renders_the_chat_format_and_gives_it_back() -> None:
    tokens = tokenizer.train(TEXTS, vocabulary=300)
    messages = [{"role": "user", "content": "What is 7?"}, {"role": "assistant", "content": "It is 7."}]

    text = tokens.apply_chat_template(messages, tokenize=False)

    assert text == "<|user|>\nWhat is 7?<|end|>\n<|assistant|>\nIt is 7.<|end|>\n"
    assert tokens.decode(tokens(text)["input_ids"]) == text
    asked = tokens.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|user|>\nWhat is 7?<|end|>\n<|assistant|>\n"


def _train(folder: Path, *, seed: int = 1, stop_after: int | None = None) -> pretrain.Pretraining:
    torch.manual_seed(seed)
    settings = Settings(**TINY, epochs=8.0)
    tokens = tokenizer.train(TEXTS, vocabulary=300)
    ids = tokens(TEXTS, add_special_tokens=False)["input_ids"]
    rows = pretrain.pack(ids, context_tokens=32, end=tokens.eos_token_id, pad=tokens.pad_token_id)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), pad=tokens.pad_token_id, end=tokens.eos_token_id)

    def tell(done: int, _total: int, _loss: float) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    return pretrain.pretrain(model, rows, settings, seed=seed, checkpoints=folder, tell=tell)


def test_training_learns_and_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, again = _train(tmp_path / "a"), _train(tmp_path / "b")

    assert first.losses[-1] < 0.6 * first.losses[0]
    assert first.losses == again.losses
    assert all(torch.equal(one, two) for one, two in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert _train(tmp_path / "c", seed=2).losses != first.losses


def test_training_resumes_exactly_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 20)
    whole = _train(tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "killed", stop_after=33)
    resumed = _train(tmp_path / "killed")

    assert resumed.losses == whole.losses
    assert all(torch.equal(one, two) for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))
