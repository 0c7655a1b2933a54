"""What pytest shows of captured log records: those of the project, not winvm's own."""

from __future__ import annotations

import pytest

from harness.testing.plugin import without_own_log

OWN = "DEBUG    winvm.programs:programs.py:169 osslsigncode: exit code 1\nUnable to extract\nFailed"
OTHERS = "WARNING  my.tests:test_driver.py:12 careful\nsecond line"


@pytest.mark.parametrize(
    ("text", "kept"),
    [(OWN, ""), (OTHERS, OTHERS), (f"{OWN}\n{OTHERS}\n{OWN}", OTHERS), ("no record", "no record")],
)
def test_lines_of_winvms_loggers_are_left_out(text: str, kept: str) -> None:
    assert without_own_log(text) == kept
