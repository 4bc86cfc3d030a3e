"""The embedded default: `make run`, `make approve`, `make up`.

`run` runs the very DAGs of `dags/` with Airflow's `dag.test()` in a process of its own (runner.py), follows their events,
and asks the person at the terminal at the candidate. It imports nothing heavy, so a person sees something at once.
"""

from __future__ import annotations

import argparse
import fcntl
import getpass
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.config import flatten, load, load_toml
from components.errors import PlumblineError, TryAgain
from plumbline_airflow import services, terminal
from plumbline_airflow.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

UNATTENDED = {
    "decision": "approve",
    "by": "nobody",
    "channel": "unattended",
    "reason": "make run was told APPROVE=unattended; no person looked at this candidate.",
}
FOLLOW_SECONDS = 0.1


def main() -> None:
    """Run a command; errors are one paragraph."""
    parser = argparse.ArgumentParser(prog="python -m plumbline_airflow.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the pipeline here and now")
    run.add_argument("--config", type=Path, required=True, help="TOML file with what differs from the defaults")
    run.add_argument("--approve", choices=["ask", "unattended"], default="ask")
    answer = commands.add_parser("approve", help="answer for a candidate that waits")
    answer.add_argument("--run", required=True, help="id of the pipeline run")
    answer.add_argument("--decision", choices=["approve", "reject"], required=True)
    answer.add_argument("--reason", required=True)
    start = commands.add_parser("up", help="start Airflow and MLflow with their UIs")
    start.add_argument("--config", type=Path, help="TOML file with the trigger form's defaults")
    start.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    home = Home(Path.cwd())
    try:
        with _alone(home):
            sys.exit(_COMMANDS[options.command](home, options))
    except PlumblineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (a command line)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(home: Home, options: argparse.Namespace) -> int:
    began = time.time()
    values = load_toml(options.config)
    load(values, where=options.config.name)
    with _runner(home) as runner:
        print(f"Plumbline: align, as {options.config} says. Full log: {_shown(home.log)}")  # noqa: T201
        state, _ = runner.run("align", flatten(values))
        screen = runner.screen
        if state != "success":
            return max(screen.ended.values(), default=1) or 1
        pack = Path(screen.pack)
        summary = terminal.verdict(pack)
        terminal.show_candidate(summary, pack, sys.stdout)
        code = _decide(home, runner, options.approve)
    _farewell(home, began)
    return code


def _decide(home: Home, runner: Runner, approve: str) -> int:
    """Ask for the answer, and release if it is yes."""
    run = runner.screen.pipeline_run
    released = _already(home, runner.screen)
    if released:
        print(f"\nNothing changed: this candidate is already released as {_shown(released)}.")  # noqa: T201
        return 0
    if approve == "unattended":
        answer = dict(UNATTENDED)
    elif sys.stdin.isatty():
        answer = terminal.ask(sys.stdout)
    else:
        print(  # noqa: T201
            "\nNobody is at the terminal, so the candidate waits. Answer later with\n"
            f'  make approve RUN="{run}" DECISION=approve REASON="..."\n'
            "or in Airflow's UI after `make up`, by triggering the DAG `release` with this pipeline_run."
        )
        return 0
    return _release(home, runner, run, answer | {"pack": runner.screen.pack_digest})


def _release(home: Home, runner: Runner, run: str, answer: dict[str, str]) -> int:
    print(f"\nrelease, answered {answer['decision']} by {answer['by']} ({answer['channel']})")  # noqa: T201
    state, _ = runner.run("release", {"pipeline_run": run}, answer)
    if state == "success":
        newest = max(home.releases.glob("policy-v*"), key=lambda path: path.stat().st_mtime)
        print(f"\nReleased: {_shown(newest)}. Its documents: {_shown(newest / 'pack' / 'index.html')}")  # noqa: T201
        return 0
    codes = [code for code in runner.screen.ended.values() if code]
    return codes[-1] if codes else 1


def _approve(home: Home, options: argparse.Namespace) -> int:
    answer = {"decision": options.decision, "by": getpass.getuser(), "channel": "terminal", "reason": options.reason}
    with _runner(home) as runner:
        return _release(home, runner, options.run, answer)


def _up(home: Home, options: argparse.Namespace) -> int:
    return services.up(home, database=options.database, config=options.config)


_COMMANDS = {"run": _run, "approve": _approve, "up": _up}


def _already(home: Home, screen: terminal.Screen) -> Path | None:
    """The release folder of this very pack, where every step but `start` was reused."""
    if set(screen.ended) - screen.reused - {"start"}:
        return None
    mine = (Path(screen.pack) / "manifest.json").read_bytes()
    for folder in sorted(home.releases.glob("policy-v*")):
        theirs = folder / "draft" / "manifest.json"
        if theirs.is_file() and theirs.read_bytes() == mine:
            return folder
    return None


def _farewell(home: Home, began: float) -> None:
    print(  # noqa: T201
        f"\n{terminal.elapsed(began)}. `make up` opens Airflow and MLflow, where every number of the pack can be followed to "
        f"its run.\nReleases are in {_shown(home.releases)}/; runs, models and keys in {_shown(home.state)}/."
    )


def _shown(path: Path) -> str:
    return os.path.relpath(path)


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """One command at a time in one folder."""
    home.state.mkdir(parents=True, exist_ok=True)
    with (home.state / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            message = (
                f"Another command is at work in {home.root} (process {lock.read().strip() or 'unknown'}). "
                "Wait until it has finished, or stop it; nothing of it was touched."
            )
            raise TryAgain(message) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class Runner:
    """The process that runs DAGs, and the screen that follows it."""

    def __init__(self, home: Home, environment: dict[str, str]) -> None:
        home.events.unlink(missing_ok=True)
        self.screen = terminal.Screen(home.events)
        read, write = os.pipe()
        self._replies = os.fdopen(read)
        self._replied: list[str] = []
        with home.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "plumbline_airflow.runner"],
                env=environment | {"PLUMBLINE_REPLIES": str(write), "PLUMBLINE_EVENTS": str(home.events)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                pass_fds=(write,),
            )
        os.close(write)
        threading.Thread(target=self._listen, daemon=True).start()
        self._log = home.log

    def run(self, dag: str, conf: dict[str, Any], answer: dict[str, str] | None = None) -> tuple[str, str]:
        """Run a DAG to its end: its state and its run id.

        Raises:
            TryAgain: The process ended instead; its log says why.
        """
        self._wait(1)
        expected = len(self._replied) + 1
        assert self.process.stdin is not None, "opened as a pipe"
        self.process.stdin.write(json.dumps({"dag": dag, "conf": conf, "answer": answer}) + "\n")
        self.process.stdin.flush()
        self._wait(expected)
        state, _, run = self._replied[-1].partition(" ")
        return state, run

    def _wait(self, count: int) -> None:
        while len(self._replied) < count:
            if self.process.poll() is not None:
                message = f"Airflow ended with exit code {self.process.returncode}. The end of {_shown(self._log)} says why."
                raise TryAgain(message)
            time.sleep(FOLLOW_SECONDS)
            self.screen.update()
        self.screen.update()

    def _listen(self) -> None:
        for line in self._replies:
            self._replied.append(line.strip())


@contextmanager
def _runner(home: Home) -> Iterator[Runner]:
    """A runner and a warm server, both ended whatever happens."""
    socket = home.state / "warm.sock"
    environment = home.environment() | {"PLUMBLINE_WARM": str(socket)}
    with home.log.open("wb") as log:
        warm = subprocess.Popen(
            [sys.executable, "-m", "components.warmstart", "--serve", str(socket)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        runner = Runner(home, environment)
        try:
            yield runner
        finally:
            services.end([runner.process])
    finally:
        services.end([warm])


if __name__ == "__main__":
    main()
