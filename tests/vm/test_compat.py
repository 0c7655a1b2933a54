"""Public drivers in the first hour: the list of projects in the folder that WINVM_COMPAT names, in the guest.

Nothing of them belongs to this repository: tests/compat says what the folder holds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compat.__main__ import ENVIRONMENT, main
from tests.compat.first_hour import LIST

FOLDER = os.environ.get(ENVIRONMENT, "")


@pytest.mark.skipif(not FOLDER, reason=f"{ENVIRONMENT} names no folder with driver projects")
@pytest.mark.timeout(7200)
def test_every_project_of_the_list_does_what_is_expected(tmp_path: Path) -> None:
    assert (Path(FOLDER) / LIST).is_file()
    assert main([FOLDER, "--first-hour", "--guest", "--output", str(tmp_path)]) == 0
