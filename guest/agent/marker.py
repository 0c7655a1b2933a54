"""In-band markers: lines on the DbgPrint channel that say which scenario begins and ends.

They travel the same way as the driver's own output, so their order among it is exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable

PREFIX = "WINVM-MARK"
MAX_PIECE = 900  # bytes; DbgPrint of Wine 10 raises 0x80000005 from 1,000 on, Windows cuts at 512
MAX_NAME = 300  # characters, which keeps a marker in one piece on Windows too
NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")

Print = Callable[[str], None]
"""Sends one piece of text, at most `MAX_PIECE` bytes, through ntdll!DbgPrint."""


class Marker:
    """Prints begin and end markers carrying the run's nonce, which a driver cannot guess.

    Raises:
        ValueError: the nonce is not 1 to 64 letters, digits, `_` or `-`.
    """

    def __init__(self, nonce: str, dbgprint: Print) -> None:
        if not NONCE.fullmatch(nonce):
            raise ValueError(f"marker nonce {nonce!r} must match {NONCE.pattern}")
        self._nonce = nonce
        self._print = dbgprint

    def begin(self, number: int, name: str) -> None:
        """The scenario's first line."""
        self._line("begin", number, name)

    def end(self, number: int, name: str) -> None:
        """The scenario's last line."""
        self._line("end", number, name)

    def _line(self, what: str, number: int, name: str) -> None:
        safe = name[:MAX_NAME].encode("ascii", "replace").decode("ascii")
        self._print(f"{PREFIX} {self._nonce} {what} {number} {safe}\n")
