"""A toy pipeline of three steps on a real MLflow: `start` opens it, `grow` makes a leaf, `brew` makes tea from it."""

from __future__ import annotations

import json
import multiprocessing
import socket
import sys
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from components import entrypoint, quiet
from components.catalog import STEPS, Step
from components.config import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from components.context import Context
    from components.lineage import Lineage

    Work = Callable[[Context[Any]], None]
    Stage = Callable[..., None]


@pytest.fixture
def two_processes() -> Callable[..., list[int | None]]:
    """Forks `work(*arguments, rank, port)` for ranks 0 and 1, which may meet at the port; their exit codes."""

    def run(work: Callable[..., None], *arguments: Any) -> list[int | None]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        fork = multiprocessing.get_context("fork")
        processes = [fork.Process(target=work, args=(*arguments, rank, port)) for rank in (0, 1)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(600)
        return [process.exitcode for process in processes]

    return run


class Trap:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.mark).touch, (self.mark,)

    @property
    def was_run(self) -> bool:
        return self.mark.exists()

    def lay(self, *places: Path) -> None:
        """Put it there, as torch would write it."""
        import torch

        for place in places:
            torch.save(self, place)


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path / "was-run")


TOYS = (
    Step("start", writes=("ground",), reusable=False),
    Step("grow", reads=("ground",), writes=("leaf",)),
    Step("brew", reads=("leaf",), writes=("tea",), registers={"tea": "policy"}, promotes={"policy": "candidate"}),
)


class Nothing(Section):
    """No settings."""


class Brewing(Section):
    """Settings of `brew`."""

    minutes: float = Field(3.0, gt=0, le=10)
    """How long it draws. [minutes]"""


@dataclass
class Toys:
    """What the toy steps did, and a way to run them."""

    folder: Path
    lineage: Lineage
    worked: list[str] = field(default_factory=list)
    before_brewing: Callable[[Context[Any]], None] | None = None

    def run(self, step: str, pipeline_run: str = "run-1", **options: bool) -> int:
        return entrypoint.run(step, pipeline_run, **options)

    def run_all(self, pipeline_run: str = "run-1") -> list[int]:
        return [self.run(step.name, pipeline_run) for step in TOYS]


quiet.settle()


@pytest.fixture
def lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lineage:
    """Of a real MLflow under `tmp_path`, in which steps record what they do."""
    from components.lineage import Lineage

    for variable, folder in {"ARTIFACTS": "artifacts", "SCRATCH": "scratch", "KEYS": "keys"}.items():
        monkeypatch.setenv(f"PLUMBLINE_{variable}", str(tmp_path / folder))
    monkeypatch.setenv("PLUMBLINE_PARAMS", "{}")
    monkeypatch.setenv("PLUMBLINE_TRIGGER", json.dumps({"type": "manual", "by": "ada"}))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return Lineage(uri, artifacts=str(tmp_path / "artifacts"))


@pytest.fixture
def staged(lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Puts steps with these works, and settings where they have some, in the pipeline's place."""
    saved = dict(STEPS)

    def stage(steps: Sequence[Step], works: Mapping[str, Work], settings: Mapping[str, type[Section]] | None = None) -> None:
        STEPS.clear()
        STEPS.update({step.name: step for step in steps})
        monkeypatch.setattr(entrypoint, "ALIGN", tuple(steps))
        for name, work in works.items():
            for part, content in (("step", {"run": work}), ("config", {"Settings": (settings or {}).get(name, Nothing)})):
                module = types.ModuleType(f"components.{name}.{part}")
                module.__dict__.update(content)
                monkeypatch.setitem(sys.modules, module.__name__, module)

    yield stage
    STEPS.clear()
    STEPS.update(saved)


@pytest.fixture
def toys(tmp_path: Path, staged: Stage, lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> Toys:
    toys = Toys(tmp_path, lineage)

    def working(name: str, work: Work) -> Work:
        def run(context: Context[Any]) -> None:
            toys.worked.append(name)
            if name == "brew" and toys.before_brewing:
                toys.before_brewing(context)
            work(context)

        return run

    works = {"start": _start, "grow": _grow, "brew": _brew}
    staged(TOYS, {name: working(name, work) for name, work in works.items()}, {"brew": Brewing})
    monkeypatch.chdir(tmp_path)
    return toys


def _start(context: Context[Any]) -> None:
    (context.output("ground") / "soil.txt").write_text("dark\n")


def _grow(context: Context[Any]) -> None:
    soil = (context.inputs["ground"] / "soil.txt").read_text()
    (context.output("leaf") / "leaf.txt").write_text(f"green on {soil}")
    context.measure("leaves", 7, unit="leaves", n=7)


def _brew(context: Context[Brewing]) -> None:
    leaf = (context.inputs["leaf"] / "leaf.txt").read_text()
    (context.output("tea") / "tea.txt").write_text(f"{context.config.minutes} minutes of {leaf}")
    context.measure("strength", 0.5 * context.config.minutes, unit="fraction", n=3, low=0.25, high=2.75)
    context.track(1, heat=90.5)
    context.track(2, heat=80.25)
    context.fact("cup", "white")
    context.gap("taste", "nobody drank it")
    context.tag("tea", base_digest="sha256:abc")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained models of one base with two layers, as folders: base_model, sft_adapter and reward_adapter."""
    import torch

    from components import models, rewardmodel
    from components.base import pretrain, tokenizer
    from components.base.config import Settings

    root = tmp_path_factory.mktemp("tiny")
    folders = {name: root / name for name in ("base_model", "sft_adapter", "reward_adapter", "judge_adapter")}
    models.seed_everything(7)
    tokens = tokenizer.train(["Is the sky blue? Yes, the sky is blue. No, it is red."] * 3, vocabulary=300)
    settings = Settings(hidden=16, layers=2, heads=2, context_tokens=64)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), pad=tokens.pad_token_id, end=tokens.eos_token_id)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.3)
    model.save_pretrained(folders["base_model"])
    tokens.save_pretrained(folders["base_model"])
    for name in ("sft_adapter", "reward_adapter", "judge_adapter"):
        base = models.load_base(folders["base_model"], as_type=torch.float32)
        model = models.new_adapter(base, name="any", rank=2, alpha=4.0)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if "lora_B" in parameter_name:
                    parameter.normal_(std=0.2)
        models.save_adapter(model, folders[name], name="any")
    digest = rewardmodel.tokenizer_digest(tokens)
    for name in ("reward_adapter", "judge_adapter"):
        head = rewardmodel.ScoreHead(16)
        torch.nn.init.normal_(head.weight)
        torch.nn.init.constant_(head.likelihood_weight, 0.1)
        head.save(folders[name] / rewardmodel.HEAD)
        rewardmodel.Card("sha256:b", digest, 0.25, 2.0, "bradley-terry", 3, "sft").write(folders[name])
    return folders
