"""Private folders stay private, whatever the umask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.host.private import private_folder


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_it_is_made_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = private_folder(tmp_path / "above" / "made")
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o777 == 0o700


def test_one_that_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert private_folder(tmp_path / "open").stat().st_mode & 0o777 == 0o700
