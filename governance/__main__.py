"""`python -m governance render EVIDENCE_DIR OUT_DIR`, `verify FOLDER` and `init`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.errors import GATE_FAILED, ConfigRefused, PlumblineError
from governance import declare, render, verify


def main(words: list[str] | None = None) -> int:
    """Run one command; 0 if it went well, else the error's code with one paragraph on stderr."""
    options = _parser().parse_args(words)
    try:
        if options.command == "render":
            _check(options)
            attachments = dict(_attachment(text) for text in options.attach)
            render.render(
                options.evidence,
                options.out,
                mlflow_ui=options.mlflow_ui,
                release=options.release,
                previous=options.previous,
                pdf=options.pdf,
                system=options.system,
                attachments=attachments,
            )
            return 0
        if options.command == "init":
            return declare.ask(options.system, sys.stdin, sys.stdout)
        return _verify(options)
    except PlumblineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (a command line)
        return error.exit_code


def _check(options: argparse.Namespace) -> None:
    """What people type on a command line must not lead out of the pack, or to anything but a page.

    Raises:
        ConfigRefused: It would.
    """
    if options.mlflow_ui and not options.mlflow_ui.startswith(("http://", "https://")):
        message = f"--mlflow-ui must begin with http:// or https://, found {options.mlflow_ui!r}."
        raise ConfigRefused(message)
    for text in options.attach:
        name, _ = _attachment(text)
        if not name or name.startswith("/") or ".." in name.split("/"):
            message = f"--attach must be NAME=FILE with a NAME inside the pack, found {text!r}."
            raise ConfigRefused(message)


def _verify(options: argparse.Namespace) -> int:
    report = verify.verify(options.out, owner_key=options.owner_key)
    for problem in report.problems or [f"{options.out.resolve().name} is as it was sealed."]:
        print(problem)  # noqa: T201  (a command line)
    for note in report.notes:
        print(note)  # noqa: T201
    return GATE_FAILED if report.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m governance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    rendering = commands.add_parser("render", help="write the pack of a release from its evidence records")
    rendering.add_argument("evidence", type=Path, help="folder of evidence records, STEP.json each")
    rendering.add_argument("out", type=Path, help="folder to write; an existing one is replaced")
    rendering.add_argument("--mlflow-ui", default="", help="address of MLflow's pages, for links to runs")
    rendering.add_argument("--release", type=Path, help="JSON file with `pipeline_run` and `versions`")
    rendering.add_argument("--previous", type=Path, help="folder of evidence records of the release before")
    rendering.add_argument("--pdf", action="store_true", help="write the main documents as PDF too")
    rendering.add_argument("--system", type=Path, default=render.SYSTEM, help="what the organisation declared")
    rendering.add_argument("--attach", action="append", default=[], metavar="NAME=FILE", help="a file to copy into the pack")
    verifying = commands.add_parser("verify", help="say what changed in a pack, a release or the register since it was sealed")
    verifying.add_argument("out", type=Path, help="folder of a pack, of a release, or of all releases")
    verifying.add_argument("--owner-key", type=Path, help="the owner's public key, from elsewhere than the folder")
    asking = commands.add_parser("init", help="ask for what only the organisation knows")
    asking.add_argument("--system", type=Path, default=render.SYSTEM, help="file to fill in")
    return parser


def _attachment(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    return name, Path(path)


if __name__ == "__main__":
    sys.exit(main())
