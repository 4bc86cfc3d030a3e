"""Text of our own: catalogues and titles. Templates may print it as it is; whatever comes from evidence they must cite."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


class Words(str):
    """Text that states nothing about a release: written by us, or the name under which a record keeps something."""

    __slots__ = ()


@cache
def read(name: str) -> Any:
    """A catalogue of ours, every text and number in it as `Words`."""
    return _words(yaml.safe_load((HERE / name).read_text(encoding="utf-8")))


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _words(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_words(inner) for inner in value]
    return value if isinstance(value, bool) or value is None else Words(value)
