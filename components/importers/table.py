"""Rows of CSV, JSON-lines and JSON files, one at a time: number → columns, or why a row can't be used."""

from __future__ import annotations

import csv
import gzip
import json
from typing import IO, TYPE_CHECKING, Any, cast

from components.errors import DataRefused
from components.importers.rows import LONGEST, Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = dict[str, Any]
LINE_BYTES = 64_000_000
"""A longer line of JSON is not read."""


def rows(path: Path) -> Iterator[tuple[int, Row | Malformed]]:
    """Line number → the row's columns by name, or the reason why there are none.

    Files are `.csv` or JSON lines, plain or .gz. Of a CSV row that spans lines, the last one counts.

    Raises:
        DataRefused: A CSV file has no header, or its quotes don't end.
    """
    with _opened(path) as file:
        if path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
            yield from _csv(file, path)
        else:
            yield from _lines(file)


def entries(path: Path) -> Iterator[tuple[int, Row | Malformed]]:
    """Place → entry of a JSON file that is one list; or as `rows`, where it is JSON lines.

    Raises:
        DataRefused: The file begins as a list and is not JSON.
    """
    with _opened(path) as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        if not start.startswith(b"["):
            file.seek(0)
            yield from _lines(file)
            return
        file.seek(0)
        try:
            found = json.loads(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            message = f"{path} is not JSON: {str(error)[:120]}. Export it again."
            raise DataRefused(message) from None
    for place, entry in enumerate(found, start=1):
        yield place, entry if isinstance(entry, dict) else Malformed("not an object")


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, Row | Malformed]]:
    number = 0
    while line := file.readline(LINE_BYTES):
        number += 1
        if line.strip():
            yield number, _object(line)
        while len(line) == LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES)


def _object(line: bytes) -> Row | Malformed:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Malformed(f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return Malformed(f"not JSON: {error.msg} at column {error.colno}")
    except (RecursionError, ValueError):
        return Malformed("not JSON that can be read: nested too deeply, or a number has too many digits")
    return row if isinstance(row, dict) else Malformed("not an object")


def _csv(file: IO[bytes], path: Path) -> Iterator[tuple[int, Row | Malformed]]:
    csv.field_size_limit(4 * LONGEST)
    text = (line.decode("utf-8", errors="surrogateescape") for line in file)
    reader = csv.reader(text, delimiter="\t" if ".tsv" in path.name else ",", strict=True)
    try:
        header = [name.removeprefix("\ufeff").strip() for name in next(reader, [])]
        if len(set(header)) != len(header) or not header:
            message = f"{path}:1 must name the columns, each once. Add the line or mend it."
            raise DataRefused(message)
        for fields in reader:
            if fields:
                yield reader.line_num, _fields(header, fields)
    except csv.Error as error:
        message = (
            f"{path}:{reader.line_num} is not CSV: {error}. Quotes must be doubled inside a quoted field; export it again."
        )
        raise DataRefused(message) from None


def _fields(header: list[str], fields: list[str]) -> Row | Malformed:
    if len(fields) != len(header):
        return Malformed(f"has {len(fields)} fields, the header {len(header)}")
    if any("\udc80" <= sign <= "\udcff" for field in fields for sign in field):
        return Malformed("not UTF-8")
    return dict(zip(header, fields, strict=True))
