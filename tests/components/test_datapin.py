from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from components.datapin import data_version, folder_md5
from components.errors import DataRefused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    """A folder that DVC itself pinned."""
    (tmp_path / "data" / "guidelines").mkdir(parents=True)
    (tmp_path / "data" / "prompts.jsonl").write_text('{"id": "1"}\n')
    (tmp_path / "data" / "guidelines" / "v1.md").write_text("Be honest.\n")
    (tmp_path / "data" / "Zed.txt").write_text("z")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    for words in (["init", "-q", "--no-scm"], ["add", "-q", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=tmp_path, env=environment, check=True, capture_output=True)
    return tmp_path


def test_the_digest_is_dvcs_own(pinned: Path) -> None:
    assert f"md5: {folder_md5(pinned / 'data')}" in (pinned / "data.dvc").read_text()


def test_a_pinned_folder_is_listed_with_sha256_and_size(pinned: Path) -> None:
    version = data_version(pinned / "data", pinned / "data.dvc")

    # printf 'z' | sha256sum
    digest = "594e519ae499312b29433b7dd8a97ff068defcba9755b6d5d00e84c524d67b06"
    assert version["files"]["Zed.txt"] == {"sha256": digest, "bytes": 1}
    assert list(version["files"]) == ["Zed.txt", "guidelines/v1.md", "prompts.jsonl"]


def test_changed_data_is_refused_with_both_digests_and_both_remedies(pinned: Path) -> None:
    before = folder_md5(pinned / "data")
    (pinned / "data" / "prompts.jsonl").write_text('{"id": "2"}\n')
    (pinned / "data" / "Zed.txt").unlink()
    (pinned / "data" / "new.txt").write_text("n")

    with pytest.raises(DataRefused) as refusal:
        data_version(pinned / "data", pinned / "data.dvc")

    assert str(refusal.value) == (
        f"{pinned}/data is not what {pinned}/data.dvc pins: it has md5 {folder_md5(pinned / 'data')}, pinned is {before} "
        "(Zed.txt is gone, new.txt is new, prompts.jsonl changed). "
        f"`dvc checkout data.dvc` brings the pinned data back; `dvc add {pinned}/data` pins the change if it is meant."
    )


def test_without_dvcs_list_of_files_changed_data_is_refused_all_the_same(pinned: Path) -> None:
    shutil.rmtree(pinned / ".dvc" / "cache")
    (pinned / "data" / "prompts.jsonl").write_text('{"id": "2"}\n')

    with pytest.raises(DataRefused, match=r"pinned is [0-9a-f]{32}\.dir\. `dvc checkout"):
        data_version(pinned / "data", pinned / "data.dvc")


def test_a_missing_folder_is_refused_with_the_ways_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DataRefused) as refusal:
        data_version(tmp_path / "data", tmp_path / "data.dvc")

    assert str(refusal.value) == (
        f"There is no data folder {tmp_path}/data. `make data` makes the embedded data, `dvc checkout data.dvc` brings back "
        "pinned data, and `python -m components.importers` imports your own."
    )


def test_unpinned_data_is_refused(pinned: Path) -> None:
    (pinned / "data.dvc").unlink()

    with pytest.raises(DataRefused, match=r"data is not pinned: there is no .*data\.dvc\. Pin it with `dvc add"):
        data_version(pinned / "data", pinned / "data.dvc")


def test_a_pin_that_pins_nothing_is_refused(pinned: Path) -> None:
    (pinned / "data.dvc").write_text("outs: []\n")

    with pytest.raises(DataRefused, match="is not a DVC file that pins a folder"):
        data_version(pinned / "data", pinned / "data.dvc")
