"""How long a governance pack takes to make, to print and to verify, and whether tampering is found.

    make bench NAME=pack

ends with {"pack_s", "pdf_s", "peak_mb", "verify_s", "hash_ratio_vs_sha256sum", "mutations", "detected", "false_alarms",
"annex_iv_points", "iso_controls"}. `pack_s` is the command `render` from start to end without PDF, `pdf_s` the same with it,
`peak_mb` the resident memory of the whole family of processes while it prints. `verify_s` is the command `verify` on a
folder with one release and a register of 1,000 lines. `hash_ratio_vs_sha256sum` is the time of `sha256sum` over ours on the
same files: above 1 is faster. The rest counts random mutations of a release, over every kind of file, and untouched copies
that were wrongly complained about.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.releasing import GOLDEN, finish, mutate, release
from components import releases
from components.owner import owner
from governance import pack, verify, words

ROOT = Path(__file__).resolve().parents[1]
MUTATIONS = int(os.environ.get("MUTATIONS", "1000"))
LINES = 1000
HASHED_FILES, HASHED_BYTES = 24, 32 << 20
MEGABYTE = 1e6


def main() -> None:
    """Measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pack_s, _ = _render(root / "plain")
        pdf_s, peak_mb = _render(root / "printed", "--pdf")
        made = _release(root)
        verify_s = _verify(made.parent)
        detected, false_alarms = _tamper(made, root / "tampered")
        ratio = _hashing(root / "hashed")
    figures = {
        "pack_s": round(pack_s, 2),
        "pdf_s": round(pdf_s, 2),
        "peak_mb": round(peak_mb),
        "verify_s": round(verify_s, 2),
        "hash_ratio_vs_sha256sum": round(ratio, 2),
        "mutations": MUTATIONS,
        "detected": detected,
        "false_alarms": false_alarms,
        "annex_iv_points": len(words.read("controls/annex_iv.yaml")["requirements"]),
        "iso_controls": sum(str(one["id"]).startswith("A.") for one in words.read("controls/iso_42001.yaml")["requirements"]),
    }
    print(json.dumps(figures))


def _command(*arguments: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a command of governance and everything that it starts."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "governance", *arguments], cwd=ROOT, stdout=sys.stderr)
    family = psutil.Process(process.pid)
    peak = 0.0
    while process.poll() is None:
        try:
            members = [family, *family.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in members) / MEGABYTE)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    seconds = time.perf_counter() - begin
    if process.returncode:
        message = f"governance {arguments[0]} ended with exit code {process.returncode}."
        raise SystemExit(message)
    return seconds, peak


def _render(out: Path, *options: str) -> tuple[float, float]:
    return _command("render", str(GOLDEN), str(out), *options)


def _release(root: Path) -> Path:
    """A release with PDFs, and a register of many lines of which the last is its own."""
    os.environ["PLUMBLINE_RELEASES"] = str(root / "releases")
    finished = finish(root / "run")
    os.environ["PLUMBLINE_KEYS"] = str(finished.keys)
    (root / "releases").mkdir()
    entry = {
        "folder": "policy-v1",
        "manifest": "0" * 64,
        "policy_version": "1",
        "pipeline_run": "r",
        "released_at": "2026-01-01",
    }
    for _ in range(LINES - 1):
        releases.enter(root / "releases", entry, owner(finished.keys))
    return release(root, finished, "1", pdf=True)


def _verify(folder: Path) -> float:
    seconds, _ = _command("verify", str(folder))
    return seconds


def _tamper(made: Path, copy: Path) -> tuple[int, int]:
    """How many mutations were found, and how many untouched copies were complained about."""
    dice = random.Random(6)
    detected, false_alarms = 0, 0
    for number in range(MUTATIONS):
        shutil.copytree(made, copy)
        if number % 10 == 0:
            false_alarms += bool(verify.verify(copy).problems)
        what = mutate(copy, dice)
        found = bool(verify.verify(copy).problems)
        detected += found
        if not found:
            print(f"missed: {what}", file=sys.stderr)
        shutil.rmtree(copy)
    return detected, false_alarms


def _hashing(folder: Path) -> float:
    """Seconds of sha256sum over ours; the better of three runs each, files in the page cache."""
    folder.mkdir()
    for number in range(HASHED_FILES):
        (folder / f"{number:02}.bin").write_bytes(random.Random(number).randbytes(HASHED_BYTES))
    names = sorted(path.name for path in folder.iterdir())
    theirs, ours = [], []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run(["sha256sum", *names], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        theirs.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        pack.digests(folder)
        ours.append(time.perf_counter() - begin)
    return min(theirs) / min(ours)


if __name__ == "__main__":
    main()
