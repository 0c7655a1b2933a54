"""Text on a terminal. Owns the rule that nothing from the guest reaches one unescaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.errors import WinvmError

DETAIL_LINES = 40
WIDEST = 110
"""Columns that text takes on a wider terminal."""
_COLOURS = {"": "", "red": "\x1b[31m", "yellow": "\x1b[33m"}
_BOLD, _OFF = "\x1b[1m", "\x1b[0m"


def printable(text: str) -> str:
    """`text` with control characters (ESC, CR, C1, bidirectional overrides) as `\\xNN` escapes."""
    return "".join(
        character
        if character.isprintable() or character in "\t "
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def wrapped(text: str, indent: int = 4) -> list[str]:
    """`text` as lines of the terminal's width, 80 columns where there is none; later lines are indented.

    Words are never broken: a path stays whole.
    """
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, WIDEST)
    return textwrap.wrap(
        text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def lines_of(text: str) -> list[str]:
    """The lines of a text from the guest, each printable: its line ends are no characters to escape."""
    return [printable(line) for line in text.splitlines()]


def paragraph(error: WinvmError) -> str:
    """An error for a person: one paragraph with its remedy, then at most 40 lines of evidence."""
    lines = wrapped(f"winvm: {' '.join(lines_of(str(error)))}", indent=0)
    detail = error.detail.splitlines()
    if len(detail) > DETAIL_LINES:
        lines.append(f"    ... {len(detail) - DETAIL_LINES} lines left out ...")
    lines += [f"    {printable(line)}" for line in detail[-DETAIL_LINES:]]
    return "\n".join(lines)


def styled(text: str, colour: str = "", *, bold: bool = False) -> str:
    """Text in a colour, `red` or `yellow`, or bold, for a terminal; see `unstyled`."""
    return f"{_COLOURS[colour]}{_BOLD if bold else ''}{text}{_OFF}"


def unstyled(text: str) -> str:
    """Text without what `styled` adds, for files and pipes."""
    for mark in (*_COLOURS.values(), _BOLD, _OFF):
        text = text.replace(mark, "") if mark else text
    return text
