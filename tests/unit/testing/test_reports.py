"""What pytest shows beside a scenario's report: log records of the project, a summary of one sentence."""

from __future__ import annotations

import pytest

from harness.testing.plugin import headline, without_own_log

OWN = "DEBUG    winvm.programs:programs.py:169 osslsigncode: exit code 1\nUnable to extract\nFailed"
OTHERS = "WARNING  my.tests:test_driver.py:12 careful\nsecond line"


@pytest.mark.parametrize(
    ("text", "kept"),
    [(OWN, ""), (OTHERS, OTHERS), (f"{OWN}\n{OTHERS}\n{OWN}", OTHERS), ("no record", "no record")],
)
def test_lines_of_winvms_loggers_are_left_out(text: str, kept: str) -> None:
    assert without_own_log(text) == kept


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "crashed: wrote through a\n    null pointer.\n  report     x",
            "crashed: wrote through a null pointer.",
        ),
        ("failed: no\nTraceback\n    line", "failed: no"),
        ("lost: gone", "lost: gone"),
    ],
)
def test_a_summary_has_the_whole_first_sentence(text: str, shown: str) -> None:
    assert headline(text) == shown
