"""The folder: same seed, same bytes; all of it or nothing; nobody else's work overwritten."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import DataRefused
from components.records import TABLES, read
from components.testbed import folder

ROOT = Path(__file__).parents[3]


def digests(path):
    return {file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in path.rglob("*.*")}


def generate(out, **environment):
    command = [sys.executable, "-m", "components.testbed", "--out", str(out), "--seed", "5", "--size", "small"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False, capture_output=True, text=True)


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed_locale_and_time_zone(tmp_path):
    one = generate(tmp_path / "a", PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C")
    two = generate(tmp_path / "b", PYTHONHASHSEED="2", TZ="UTC", LC_ALL="C.UTF-8")

    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_the_first_records_of_seed_0_never_change(tmp_path):
    """Pinned: a change of these bytes changes `data.dvc` and every number measured on the testbed."""
    folder.write_world(tmp_path / "data", seed=0, size="small")

    found = digests(tmp_path / "data")["prompts.jsonl"]

    assert found == PINNED


PINNED = "1e198e49c233cc45aa7236e6d02dcbdd581a4ea61990b1e3c8243b3a9a649a0c"


def test_another_seed_gives_other_bytes(tmp_path):
    folder.write_world(tmp_path / "a", seed=1, size="small")
    folder.write_world(tmp_path / "b", seed=2, size="small")

    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")

    assert all(a[f"{table}.jsonl"] != b[f"{table}.jsonl"] for table in TABLES)


def test_every_table_is_there_and_reads_back(tmp_path):
    counts = folder.write_world(tmp_path / "data", seed=0, size="small")

    found = {table: sum(1 for _ in read(tmp_path / "data" / f"{table}.jsonl", record)) for table, record in TABLES.items()}

    assert found == counts
    assert sorted(path.name for path in (tmp_path / "data" / "guidelines").iterdir()) == ["v1.md", "v2.md", "versions.json"]


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.txt").write_text("mine")

    with pytest.raises(DataRefused, match="was not written by the testbed"):
        folder.write_world(tmp_path / "data", seed=0, size="small")

    assert [path.name for path in (tmp_path / "data").iterdir()] == ["precious.txt"]


def test_force_replaces_a_folder_of_somebody_else(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.txt").write_text("mine")

    folder.write_world(tmp_path / "data", seed=0, size="small", force=True)

    assert not (tmp_path / "data" / "precious.txt").exists()
    assert (tmp_path / "data" / folder.MARK).exists()


def test_an_interrupted_generation_leaves_the_old_folder_whole(tmp_path, monkeypatch):
    folder.write_world(tmp_path / "data", seed=0, size="small")
    before = digests(tmp_path / "data")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder.tables, "golden", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.write_world(tmp_path / "data", seed=1, size="small")

    assert digests(tmp_path / "data") == before


def test_what_an_interrupted_generation_left_does_not_hinder_the_next(tmp_path):
    (tmp_path / ".data.new").mkdir()
    (tmp_path / ".data.new" / "junk.jsonl").write_text("x")

    folder.write_world(tmp_path / "data", seed=0, size="small")

    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert not (tmp_path / "data" / "junk.jsonl").exists()


def test_a_file_at_the_place_is_refused_by_the_command_in_one_paragraph(tmp_path):
    (tmp_path / "data").write_text("a file")

    done = generate(tmp_path / "data")

    assert done.returncode == 65
    assert done.stderr.startswith("DataRefused: ")
    assert done.stderr.count("\n") == 1


def test_the_generator_imports_nothing_heavy():
    code = (
        "import sys, components.testbed.folder; print(sorted({'torch', 'numpy', 'mlflow', 'transformers'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
