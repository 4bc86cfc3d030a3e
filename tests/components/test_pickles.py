"""A pickle that runs code when it is loaded, planted where a library could look for weights."""

from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING

import pytest

from components import models
from components.errors import ModelRefused

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Trap


def test_the_pickle_would_run(trap: Trap) -> None:
    """Else the tests below could not fail."""
    pickle.loads(pickle.dumps(trap))

    assert trap.was_run


def test_beside_weights_of_a_base_model_it_is_not_looked_at(tiny_models: dict[str, Path], tmp_path: Path, trap: Trap) -> None:
    folder = shutil.copytree(tiny_models["base_model"], tmp_path / "base")
    trap.lay(*(folder / name for name in ("pytorch_model.bin", "model.pt", "tokenizer.pkl", "training_args.bin")))

    models.load_base(folder)
    models.load_tokenizer(folder)

    assert not trap.was_run


def test_in_the_place_of_weights_it_is_refused(tiny_models: dict[str, Path], tmp_path: Path, trap: Trap) -> None:
    base = shutil.copytree(tiny_models["base_model"], tmp_path / "base")
    adapter = shutil.copytree(tiny_models["sft_adapter"], tmp_path / "adapter")
    whole = models.load_base(base)
    (base / "model.safetensors").unlink()
    (adapter / "adapter_model.safetensors").unlink()
    trap.lay(base / "pytorch_model.bin", adapter / "adapter_model.bin")

    with pytest.raises(ModelRefused, match="Pickled weights can run code"):
        models.load_base(base)
    with pytest.raises(ModelRefused, match="Give the folder of a LoRA adapter in safetensors format"):
        models.load_adapter(whole, adapter, name="any")

    assert not trap.was_run


def test_named_as_weights_it_is_no_safetensors_file(tiny_models: dict[str, Path], tmp_path: Path, trap: Trap) -> None:
    folder = shutil.copytree(tiny_models["base_model"], tmp_path / "base")
    trap.lay(folder / "model.safetensors")

    with pytest.raises(Exception, match="header"):
        models.load_base(folder)

    assert not trap.was_run
