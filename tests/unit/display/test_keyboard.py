"""Asking a person on a terminal, and noticing that there is none."""

from __future__ import annotations

import os
import pty
from pathlib import Path

from harness.display.keyboard import Keyboard


def test_a_line_is_asked_for_and_guest_text_is_made_printable() -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"size + 1\n")
        assert Keyboard(Path(os.ttyname(theirs))).ask("\x1b[2Jvalue\n(Pdb) ") == "size + 1\n"
        shown = os.read(ours, 1000)
        assert b"\\x1b[2Jvalue\r\n(Pdb) " in shown
        assert b"\x1b" not in shown
    finally:
        os.close(ours)
        os.close(theirs)


def test_without_a_terminal_nobody_is_asked(tmp_path: Path) -> None:
    absent = Keyboard(tmp_path / "tty")
    assert not absent.attended
    assert absent.ask("(Pdb) ") == ""


def test_a_terminal_of_others_is_not_attended() -> None:
    ours, theirs = pty.openpty()
    try:
        assert not Keyboard(Path(os.ttyname(theirs))).attended, "it is not this process's own"
    finally:
        os.close(ours)
        os.close(theirs)
