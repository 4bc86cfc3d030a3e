from __future__ import annotations

from pathlib import Path

from components import errors

ROOT = Path(__file__).resolve().parents[2]


def _leaves(kind: type[Exception]) -> list[type[Exception]]:
    below = kind.__subclasses__()
    return [leaf for child in below for leaf in _leaves(child)] if below else [kind]


def test_every_error_has_a_row_with_its_exit_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()

    for leaf in _leaves(errors.PlumblineError):
        assert f"| `{leaf.__name__}` | {leaf.exit_code} |" in text
