"""Where files name a person, and a data folder's tables without that person.

A row is somebody's by its own field, never by what else stands in it. Tables are drafted beside themselves and put in place
together, once nothing is left that names the person; until then nothing has changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

OWNER = {"annotators": "pseudonym", "comparisons": "annotator", "decisions": "annotator"}
"""Table → the field that says whose a row is."""
SEARCHED = 4
"""A pseudonym of fewer characters, or of digits alone, would be found everywhere: it counts only in an owner's field or as a
key."""
QUOTE = r"\\*\""
"""Of JSON, and of JSON in a text of JSON."""


class Name:
    """A pseudonym to look for, by itself: `ann-1` is not in `ann-10`, nor in `ann-1-b` where that is somebody else."""

    def __init__(self, pseudonym: str, others: Iterable[str] = ()) -> None:
        """Look for `pseudonym`.

        Args:
            pseudonym: Whom.
            others: Everybody's pseudonyms.
        """
        self.pseudonym = pseudonym
        longer = sorted((name for name in others if pseudonym in name and name != pseudonym), key=len, reverse=True)
        own = "|".join(_forms(pseudonym))
        if len(pseudonym) < SEARCHED or pseudonym.isdigit():
            fields = "|".join(sorted(set(OWNER.values())))
            pattern = f"(?P<own>{QUOTE}(?:{fields}){QUOTE}: ?{QUOTE}(?:{own}){QUOTE}|{QUOTE}(?:{own}){QUOTE}:)"
        else:
            theirs = "".join(f"{form}|" for name in longer for form in _forms(name))
            pattern = f"(?<![0-9A-Za-z])(?:{theirs}(?P<own>{own}))(?![0-9A-Za-z])"
        self._pattern = re.compile(pattern.encode())

    def stands_in(self, text: bytes) -> bool:
        """Does a text name the person?"""
        return any(found["own"] is not None for found in self._pattern.finditer(text))

    def stands_in_file(self, path: Path) -> bool:
        """Does a file name the person, in one of its lines?"""
        with path.open("rb") as lines:
            return any(map(self.stands_in, lines))


@dataclass
class Mended:
    """Tables without a person, not yet in place."""

    data: Path
    drafts: dict[Path, Path] = field(default_factory=dict)
    """Table → its draft, where a row changed or went."""
    changed: dict[str, int] = field(default_factory=dict)
    """Table → rows that changed or went."""

    def naming(self, name: Name) -> list[str]:
        """Files of the folder that would still name the person."""
        files = (path for path in files_of(self.data) if path not in self.drafts.values())
        return [path.relative_to(self.data).as_posix() for path in files if name.stands_in_file(self.drafts.get(path, path))]

    def put_in_place(self) -> None:
        """Replace the tables by their drafts."""
        for path, draft in self.drafts.items():
            draft.replace(path)


@contextmanager
def mended(data: Path, pseudonym: str, *, remove: bool) -> Iterator[Mended]:
    """Drafts of the tables without a person; those that are not put in place are thrown away.

    Args:
        data: The data folder.
        pseudonym: Whom.
        remove: Whether labels go; else they lose annotator and session.
    """
    found = Mended(data)
    try:
        for table in OWNER:
            path = data / f"{table}.jsonl"
            if path.is_file():
                draft = found.drafts[path] = path.with_suffix(".draft")
                count = _drafted(path, draft, pseudonym, remove=remove)
                if count:
                    found.changed[table] = count
                else:
                    found.drafts.pop(path).unlink()
        yield found
    finally:
        for draft in found.drafts.values():
            draft.unlink(missing_ok=True)


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, in order."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def owners(path: Path) -> set[str]:
    """Whose rows a file of JSON lines holds."""
    with path.open("rb") as lines:
        found = {_row(line).get(name) for line in lines for name in OWNER.values()}
    return {owner for owner in found if isinstance(owner, str)}


def digest(pseudonym: str) -> str:
    """Stands for a person where the pseudonym must not stand: sha256, in hex."""
    return hashlib.sha256(pseudonym.encode()).hexdigest()


def _drafted(path: Path, draft: Path, pseudonym: str, *, remove: bool) -> int:
    """Write a table without a person; how many rows changed or went. All others keep their bytes."""
    field_, unlinks = OWNER[path.stem], path.stem == "comparisons" and not remove
    count = 0
    with path.open("rb") as lines, draft.open("wb") as file:
        for line in lines:
            row = _row(line)
            if row.get(field_) != pseudonym:
                file.write(line)
                continue
            count += 1
            if unlinks:
                text = json.dumps(row | {"annotator": None, "session": None}, ensure_ascii=False, sort_keys=True)
                file.write(text.encode(errors="backslashreplace") + b"\n")  # half a character becomes JSON's name for it
    return count


def _row(line: bytes) -> dict[str, Any]:
    """A line as a row; empty where it is none, so that it is nobody's and stays."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _forms(pseudonym: str) -> list[str]:
    """How files may write a pseudonym, as regular expressions: as it is, and as JSON does."""
    written = (pseudonym, json.dumps(pseudonym)[1:-1], json.dumps(pseudonym, ensure_ascii=False)[1:-1])
    return [re.escape(text) for text in dict.fromkeys(written)]
