"""Two processes of one step: one leads, one only helps. Forked, with gloo on the loopback, and a real MLflow."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components import ranks
from components.catalog import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Toys

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spreading(toys: Toys) -> Toys:
    """`brew` may be worked on by several processes; what it reads is there."""
    STEPS["brew"] = dataclasses.replace(STEPS["brew"], spreads=True)
    assert [toys.run("start"), toys.run("grow")] == [0, 0]
    return toys


@pytest.fixture
def together(two_processes: Callable[..., list[int | None]]) -> Callable[..., list[int | None]]:
    """Runs `brew` as two processes; their exit codes."""

    def run(toys: Toys, work: Callable[[Any], None] | None, **options: bool) -> list[int | None]:
        toys.before_brewing = work
        return two_processes(_as_rank, toys, options)

    return run


def _as_rank(toys: Toys, options: dict[str, bool], rank: int, port: int) -> None:
    place = {
        "RANK": rank,
        "WORLD_SIZE": 2,
        "LOCAL_RANK": rank,
        "GROUP_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in place.items()})
    ranks.PATIENCE_SECONDS = 0.5
    os._exit(toys.run("brew", **options))


def _seen(toys: Toys) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(toys.folder.glob("seen-*.json"))]


def _gather(context: Any) -> None:
    """What a rank was given, and what all have together."""
    import torch
    from torch import distributed

    ranked = torch.tensor([10.0 ** (context.rank + 1)])
    distributed.all_reduce(ranked)
    seen = {
        "minutes": context.config.minutes,
        "leaf": (context.inputs["leaf"] / "leaf.txt").read_text(),
        "digest": context.input_digests["leaf"],
        "pipeline_run": context.pipeline_run,
        "seed": context.seed,
        "checkpoints": str(context.checkpoints),
        "of": context.ranks,
        "sum": float(ranked),
    }
    (Path.cwd() / f"seen-{context.rank}.json").write_text(json.dumps(seen))
    context.progress(1, 1, f"from {context.rank}")


def test_all_work_on_the_same_and_rank_0_alone_publishes(
    spreading: Toys, capfd: pytest.CaptureFixture[str], together: Callable[..., list[int | None]]
) -> None:
    """10 from rank 0 and 100 from rank 1 are 110 for both."""
    codes = together(spreading, _gather)

    assert codes == [0, 0]
    first, second = _seen(spreading)
    assert first == second
    assert (first["sum"], first["of"], first["leaf"]) == (110.0, 2, "green on dark\n")
    lineage = spreading.lineage
    run = lineage.step_run("run-1", "brew")
    everything = lineage.client.search_runs([lineage.experiment], "tags.`plumbline.step` = 'brew'")
    assert [each.info.run_id for each in everything] == [run.info.run_id]
    assert len(lineage.client.search_model_versions("name = 'policy'")) == 1
    assert capfd.readouterr().out.count("progress brew 1/1 from 0") == 1
    assert not list((spreading.folder / "scratch" / "brew").glob("*")), "nothing is left of either"


def test_where_a_finished_run_stands_in_nobody_works(spreading: Toys, together: Callable[..., list[int | None]]) -> None:
    assert together(spreading, None) == [0, 0]

    def never(_: object) -> None:
        os._exit(99)

    assert together(spreading, never) == [0, 0]


def test_what_only_one_rank_could_do_is_not_published(spreading: Toys, together: Callable[..., list[int | None]]) -> None:
    """Rank 1 is killed in the middle: rank 0 loses it, and says to try again."""

    def half(context: Any) -> None:
        if context.rank:
            os.kill(os.getpid(), signal.SIGKILL)

    assert together(spreading, half) == [75, -signal.SIGKILL]

    lineage = spreading.lineage
    assert lineage.step_run("run-1", "brew") is None
    runs = lineage.client.search_runs([lineage.experiment], "tags.`plumbline.step` = 'brew'")
    assert [run.info.status for run in runs] == ["FAILED"]
    assert together(spreading, None) == [0, 0]


def test_a_step_that_does_not_spread_is_done_by_one(spreading: Toys, together: Callable[..., list[int | None]]) -> None:
    STEPS["brew"] = dataclasses.replace(STEPS["brew"], spreads=False)

    def alone(context: Any) -> None:
        (Path.cwd() / f"seen-{context.ranks}-{os.environ['RANK']}.json").write_text("{}")

    assert together(spreading, alone) == [0, 0]
    assert [path.name for path in spreading.folder.glob("seen-*")] == ["seen-1-0.json"]


def test_another_machine_fetches_its_inputs_and_checks_them(spreading: Toys, together: Callable[..., list[int | None]]) -> None:
    """Rank 1 as if on a machine of its own: the artifact comes by MLflow, not by the path that rank 0 has."""

    def told(context: Any) -> None:
        fetched = context.checkpoints.parent / "node-1" / "leaf"
        seen = {"leaf": str(context.inputs["leaf"]), "fetched": str(fetched.readlink())}
        (Path.cwd() / f"seen-{context.rank}.json").write_text(json.dumps(seen))

    original = ranks.here
    ranks.here = lambda: dataclasses.replace(original(), node=original().rank, local=0)
    try:
        assert together(spreading, told) == [0, 0]
    finally:
        ranks.here = original
    first, second = _seen(spreading)
    assert second["leaf"] == second["fetched"]
    assert first["leaf"] == second["leaf"], "a local artifact store hands out its own folder"


def _launched(folder: Path, program: str) -> tuple[int, float]:
    (folder / "program.py").write_text(program)
    begin = time.monotonic()
    command = [sys.executable, "-m", "components.spread", "--standalone", "--nproc-per-node=2", str(folder / "program.py")]
    environment = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE"}}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200)
    return done.returncode, time.monotonic() - begin


ASLEEP = """
import os, signal, sys, time
rank = int(os.environ["RANK"])
open(os.path.dirname(__file__) + f"/pid-{rank}", "w").write(str(os.getpid()))
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
while not os.path.exists(os.path.dirname(__file__) + f"/pid-{1 - rank}"):
    time.sleep(0.05)
"""


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(66)", 66), ("os.kill(os.getpid(), signal.SIGKILL)", 137)])
def test_the_first_failure_ends_all_and_its_exit_code_is_the_steps(tmp_path: Path, ending: str, code: int) -> None:
    """torchrun alone would end with 1, and Airflow would try a refused input again."""
    failing = 0 if code == 66 else 1

    found, _ = _launched(tmp_path, ASLEEP + f"if rank == {failing}:\n    {ending}\ntime.sleep(600)\n")

    assert found == code
    other = int((tmp_path / f"pid-{1 - failing}").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


def test_what_all_finish_ends_well(tmp_path: Path) -> None:
    assert _launched(tmp_path, ASLEEP)[0] == 0
