"""In-band markers: lines on the DbgPrint channel that say which scenario begins and ends.

They travel the same way as the driver's own output, so their order among it is exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable

PREFIX = "WINVM-MARK"
MAX_PIECE = 900  # bytes; Wine 10's DbgPrint raises 0x80000005 at 1,000 or more, Windows cuts at 512
MAX_NAME = 300  # characters; a marker is then shorter than the 512 bytes at which Windows cuts
NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")

Print = Callable[[str], None]
"""Sends one piece of text, at most `MAX_PIECE` bytes, through ntdll!DbgPrint."""


class Marker:
    """Prints begin and end markers with the run's nonce, so that a driver cannot print one.

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
