"""The terminal of the person who started winvm, also where pytest or a pipe took the standard streams."""

from __future__ import annotations

import os
from pathlib import Path

from harness.display.terminal import printable

TERMINAL = Path("/dev/tty")
OUTPUTS = (1, 2)


class Keyboard:
    """A terminal to ask a person on. Everything shown is made printable."""

    def __init__(self, path: Path = TERMINAL) -> None:
        self._path = path

    @property
    def attended(self) -> bool:
        """Whether somebody can answer: this process writes to a terminal and may read it.

        A process in the background would be stopped if it read, and what a log takes nobody sees.
        """
        try:
            with self._path.open(encoding="utf-8") as keyboard:
                foreground = os.tcgetpgrp(keyboard.fileno()) == os.getpgrp()
        except OSError:
            return False
        return foreground and any(map(os.isatty, OUTPUTS))

    def ask(self, text: str) -> str:
        """Shows `text`, which usually ends in a prompt; the line typed, empty at the end of input."""
        shown = "\n".join(map(printable, text.split("\n")))
        try:
            # Not `open`, which would make a file where there is no terminal.
            screen = os.open(self._path, os.O_WRONLY | os.O_NOCTTY)
            with os.fdopen(screen, "w", encoding="utf-8", errors="backslashreplace") as writer:
                writer.write(shown)
            with self._path.open(encoding="utf-8", errors="backslashreplace") as keyboard:
                return keyboard.readline()
        except OSError:
            return ""
