"""Is a data folder what its DVC file pins? Standard library and PyYAML; the digest is DVC's own.

DVC pins a folder by the md5 of a JSON list of its files' md5 and relative paths. Computing it here takes milliseconds,
where asking DVC takes a process with its imports; a test holds the two together. md5 is DVC's choice and tells changes, not
attacks; `data_version` therefore records sha256 of every file as well, and everything downstream is bound to those.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from components.errors import DataRefused, PlumblineError
from components.provenance import file_digest


def main() -> None:
    """`python -m components.datapin FOLDER PIN`: exit 0 if the folder is what the pin says, else say why not."""
    folder, pin = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        data_version(folder, pin)
    except PlumblineError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def data_version(folder: Path, pin: Path) -> dict[str, Any]:
    """What is in a pinned data folder: `md5` as DVC has it, and `files`: relative path → `sha256`, `bytes`.

    Raises:
        DataRefused: The folder or its pin is missing, or the content is not what is pinned.
    """
    if not folder.is_dir():
        message = (
            f"There is no data folder {folder}. `make data` makes the embedded data, `dvc checkout {pin.name}` brings back "
            "pinned data, and `python -m components.importers` imports your own."
        )
        raise DataRefused(message)
    if not pin.is_file():
        message = f"{folder} is not pinned: there is no {pin}. Pin it with `dvc add {folder}`, so that runs can name it."
        raise DataRefused(message)
    pinned, found = _pinned(pin), folder_md5(folder)
    if pinned != found:
        message = (
            f"{folder} is not what {pin} pins: it has md5 {found}, pinned is {pinned}{_differences(folder, pin, pinned)}. "
            f"`dvc checkout {pin.name}` brings the pinned data back; `dvc add {folder}` pins the change if it is meant."
        )
        raise DataRefused(message)
    files = {
        path.relative_to(folder).as_posix(): {"sha256": file_digest(path), "bytes": path.stat().st_size}
        for path in _files(folder)
    }
    return {"md5": found, "files": dict(sorted(files.items()))}


def folder_md5(folder: Path) -> str:
    """The digest under which DVC keeps a folder, `HEX.dir`."""
    entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(_md5_of_files(folder).items())]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5_of_files(folder: Path) -> dict[str, str]:
    found = {}
    for path in _files(folder):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        found[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return found


def _differences(folder: Path, pin: Path, pinned: str) -> str:
    """` (prompts.jsonl changed, ...)`, where DVC's cache has the list of pinned files, else nothing."""
    listing = pin.resolve().parent / ".dvc" / "cache" / "files" / "md5" / pinned[:2] / pinned[2:]
    try:
        before = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(listing.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    now = _md5_of_files(folder)
    named = [f"{name} {_difference(before.get(name), now.get(name))}" for name in sorted(before.keys() | now.keys())]
    return " (" + ", ".join(name for name in named if not name.endswith(" same")) + ")"


def _difference(before: str | None, now: str | None) -> str:
    if before == now:
        return "same"
    return "is new" if before is None else "is gone" if now is None else "changed"


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _pinned(pin: Path) -> str:
    try:
        return str(yaml.safe_load(pin.read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, IndexError, TypeError):
        message = f"{pin} is not a DVC file that pins a folder. Make it anew with `dvc add`."
        raise DataRefused(message) from None


if __name__ == "__main__":
    main()
