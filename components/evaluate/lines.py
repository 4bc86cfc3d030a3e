"""Lines of a JSON-lines file, whatever the text in them holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.errors import DataRefused

if TYPE_CHECKING:
    from pathlib import Path


def numbered(path: Path) -> list[tuple[int, str]]:
    """Each line that is not blank, with its number; a byte order mark at the beginning is passed over.

    Only a line feed ends a line: JSON may hold U+2028, U+0085 and their like unescaped, at which `str.splitlines` splits too.

    Raises:
        DataRefused: The file can't be read as UTF-8.
    """
    lines = text(path).split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Raises:
        DataRefused: The file is not there, can't be opened, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}. Give the path of a file that is there."
        raise DataRefused(message) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"{path.name}:{line} is not UTF-8: {error.reason}. Save the file as UTF-8."
        raise DataRefused(message) from None
