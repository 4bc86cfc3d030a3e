"""Facts that stand in a list: which there are, in which order, and what each is called."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from governance.words import Words

if TYPE_CHECKING:
    from governance.facts import Facts


def matching(facts: Facts, pattern: str) -> list[str]:
    """The facts that a pattern stands for, in the record's order; by number where its stars stand for numbers."""
    names = facts.matching(pattern)
    stars = {name: [found for wanted, found in _parts(pattern, name) if "*" in wanted] for name in names}
    if all(part.isdecimal() for parts in stars.values() for part in parts):
        return sorted(names, key=lambda name: [int(part) for part in stars[name]])
    return names


def _parts(pattern: str, name: str) -> list[tuple[str, str]]:
    return list(zip(pattern.split("."), name.split("."), strict=False))


def gate_of(name: str) -> str:
    """The gate that a fact is part of, unless it is the gate's name; else empty."""
    gate = ".".join(name.split(".")[:4])
    return gate if gate.startswith("evaluate.facts.gates.") and not name.endswith(".name") else ""


def labelled(pattern: str, name: str) -> bool:
    """Whether a value in a list needs its name beside it."""
    return "*" in pattern and not name.endswith(".name")


def apart(pattern: str, name: str) -> Words:
    """The parts of a name that a pattern's stars stand for."""
    parts = _parts(pattern, name)
    return Words(", ".join(unquote(found).replace("_", " ") for wanted, found in parts if "*" in wanted))
