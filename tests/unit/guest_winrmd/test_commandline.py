"""Command lines that winrmd starts: how long they may be."""

from __future__ import annotations

import pytest
from winrmd.commandline import INTERPRETER_LIMIT, LIMIT, direct, of_words, through_shell


def test_the_longest_lines_are_started() -> None:
    assert direct("a", ["x" * (LIMIT - 2)]).words == ["a", "x" * (LIMIT - 2)]
    assert through_shell("a", ["x" * (INTERPRETER_LIMIT - 2)], None).words[-1].endswith("x")


def test_longer_ones_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="at most 32766 UTF-16 units, this one has 32767"):
        direct("a", ["x" * (LIMIT - 1)])
    with pytest.raises(ValueError, match="at most 8191 UTF-16 units, this one has 8192"):
        through_shell("a", ["x" * (INTERPRETER_LIMIT - 1)], None)


def test_words_given_apart_stay_apart_and_are_counted_with_their_quotes() -> None:
    assert of_words(["a b", "c d", ""]).words == ["a b", "c d", ""]
    assert not of_words(["cmd"]).reads_lines  # only cmd.exe reads badly
    with pytest.raises(ValueError, match=f"at most {LIMIT} UTF-16 units, this one has {LIMIT + 1}"):
        of_words(["a", " " * (LIMIT - 3)])
