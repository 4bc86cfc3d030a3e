"""Digests of libraries, the same wherever the same wheel is installed."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata

from components import installed

ONE, TWO = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()
RECORD = (
    "pkg/b.py,sha256=P8TM_nRYcOLA2Z9x8w_wZWyN7dQcwdfT03aw2-aF4vM,3",
    "pkg/a.py,sha256=dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z_0Me0,3",
)
"""Made with `base64.urlsafe_b64encode(hashlib.sha256(b"two").digest())`, and of `one`; as pip writes them, unpadded."""


def test_the_digest_is_of_sorted_lines_that_anybody_can_print() -> None:
    """`printf 'one' > pkg/a.py; printf 'two' > pkg/b.py; sha256sum pkg/*.py | sha256sum`."""
    expected = hashlib.sha256(f"{ONE}  pkg/a.py\n{TWO}  pkg/b.py\n".encode()).hexdigest()

    assert installed.of_record(RECORD) == expected


def test_what_an_installer_adds_changes_nothing_and_a_changed_file_does() -> None:
    added = (
        "../../../bin/pkg,sha256=dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z_0Me0,3",
        "pkg-1.0.dist-info/INSTALLER,sha256=dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z_0Me0,3",
        "pkg/__pycache__/a.cpython-311.pyc,,",
        "pkg-1.0.dist-info/RECORD,,",
    )

    assert installed.of_record([*RECORD, *added]) == installed.of_record(RECORD)
    assert installed.of_record([RECORD[0], RECORD[1].replace("a.py", "c.py")]) != installed.of_record(RECORD)
    assert installed.of_record(["pkg/a.py,,"]) == ""


def test_every_installed_library_is_listed_but_what_comes_from_a_folder_here() -> None:
    libraries = json.loads(installed.text())["libraries"]

    assert libraries["pyyaml"]["version"] == metadata.version("PyYAML")
    assert len(libraries["numpy"]["sha256"]) == 64
    assert "plumbline" not in libraries
