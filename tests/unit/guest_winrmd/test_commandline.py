"""Command lines that winrmd starts: how long they may be."""

from __future__ import annotations

import pytest
from winrmd.commandline import INTERPRETER_LIMIT, LIMIT, direct, through_shell


def test_the_longest_lines_are_started() -> None:
    assert direct("a", ["x" * (LIMIT - 2)]).words == ["a", "x" * (LIMIT - 2)]
    assert through_shell("a", ["x" * (INTERPRETER_LIMIT - 2)], None).words[-1].endswith("x")


def test_longer_ones_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="at most 32766 UTF-16 units, this one has 32767"):
        direct("a", ["x" * (LIMIT - 1)])
    with pytest.raises(ValueError, match="at most 8191 UTF-16 units, this one has 8192"):
        through_shell("a", ["x" * (INTERPRETER_LIMIT - 1)], None)
