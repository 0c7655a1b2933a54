"""What deploy.files names: where each file goes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BuildError
from harness.toolchain.deployed import FILES_LIMIT, deployed_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "project/x64/Release/test.exe",
        "project/x64/Release/test.dll",
        "project/data/a b.bin",
        "out.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "project"


def test_files_keep_their_place(root: Path) -> None:
    found = deployed_files(root, ["x64/Release/*", "data", "../out.txt"])
    assert set(found) == {"x64/Release/test.exe", "x64/Release/test.dll", "data/a b.bin", "out.txt"}
    assert found["data/a b.bin"].read_text() == "project/data/a b.bin"


def test_what_is_missing_or_ambiguous_is_refused(root: Path) -> None:
    with pytest.raises(BuildError, match="no such file"):
        deployed_files(root, ["x64/Debug/*.exe"])
    (root / "out.txt").write_text("mine")
    with pytest.raises(BuildError, match=r"two files for out\.txt"):
        deployed_files(root, ["out.txt", "../out.txt"])


def test_a_whole_tree_is_refused(root: Path) -> None:
    for number in range(FILES_LIMIT + 1):
        (root / "data" / f"{number}").touch()
    with pytest.raises(BuildError, match="at most 500 files"):
        deployed_files(root, ["data"])
