"""Base models from a folder and from a hub, both in the layouts that are really met."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from components import models
from components.base import pretrain, sources, tokenizer
from components.base.config import Settings
from components.errors import ConfigRefused, ModelRefused, TryAgain
from components.provenance import folder_digest

if TYPE_CHECKING:
    from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tokens = tokenizer.train(["a small text"], vocabulary=300)
    settings = Settings(hidden=16, heads=2, layers=1, context_tokens=32)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), pad=tokens.pad_token_id, end=tokens.eos_token_id)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    (folder / "LICENSE").write_text("free")
    return folder


def _version(folder: Path, **other: str) -> dict[str, str]:
    return {"source": "folder", "location": str(folder), "revision": "", "digest": folder_digest(folder)} | other


def test_a_folder_is_copied_with_its_licence_and_loads(model_folder: Path, tmp_path: Path) -> None:
    sources.from_folder(_version(model_folder), tmp_path / "out")

    assert (tmp_path / "out" / "LICENSE").read_text() == "free"
    assert models.parameter_count(models.load_base(tmp_path / "out")) > 0


def test_a_folder_that_changed_since_start_is_refused(model_folder: Path, tmp_path: Path) -> None:
    version = _version(model_folder)
    (model_folder / "LICENSE").write_text("not free")

    with pytest.raises(ModelRefused, match="Start a new pipeline run, and leave the folder alone until it has finished"):
        sources.from_folder(version, tmp_path / "out")


def test_weights_that_are_not_safetensors_are_refused(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")

    with pytest.raises(ModelRefused) as refusal:
        sources.from_folder(_version(model_folder), tmp_path / "out")

    assert str(refusal.value) == (
        f"{model_folder} has no weights in safetensors format, found pytorch_model.bin. Pickled weights can run code when "
        "loaded; convert them with `save_pretrained(..., safe_serialization=True)` somewhere safe, and give that folder."
    )


def test_a_model_that_brings_code_is_refused(model_folder: Path, tmp_path: Path) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Evil"}}))

    with pytest.raises(ModelRefused, match="asks to run code from the model's folder"):
        sources.from_folder(_version(model_folder), tmp_path / "out")


def test_a_tokenizer_without_chat_template_is_refused(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "chat_template.jinja").unlink()

    with pytest.raises(ModelRefused, match="has no chat template"):
        sources.from_folder(_version(model_folder), tmp_path / "out")


@pytest.fixture
def hub(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache as huggingface_hub lays it out, and no network."""
    repository = tmp_path / "hub" / "models--acme--tiny"
    shutil.copytree(model_folder, repository / "snapshots" / REVISION)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository


def test_a_pinned_hub_revision_is_taken(hub: Path, model_folder: Path, tmp_path: Path) -> None:
    version = {"source": "hub", "location": "acme/tiny", "revision": REVISION, "digest": ""}

    sources.from_hub(version, tmp_path / "out", tmp_path / "scratch")

    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert weights == (model_folder / "model.safetensors").read_bytes()


def test_a_revision_that_the_hub_does_not_give_is_to_be_tried_again(hub: Path, tmp_path: Path) -> None:
    version = {"source": "hub", "location": "acme/tiny", "revision": REVISION.replace("0", "f"), "digest": ""}

    with pytest.raises(TryAgain, match="The hub did not give acme/tiny at f123456789abcdef"):
        sources.from_hub(version, tmp_path / "out", tmp_path / "scratch")


def test_a_hub_model_without_a_pinned_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"base\.revision its commit \(40 hex digits\); found 'acme/tiny' and ''"):
        sources.from_hub({"source": "hub", "location": "acme/tiny", "revision": ""}, tmp_path / "out", tmp_path)
