"""A request that a running target halts: repeated until it does; a repeat may cause a second halt."""

from __future__ import annotations

import threading
import time

from harness.deadline import Deadline

EVERY_S = 0.5
LEFT_OVER_S = 2.0
"""Seconds after a break-in in which another break at the same place is due to a repeated request."""


class BreakInWish:
    """Any thread makes or withdraws the request; one thread sends it and reports the halt."""

    def __init__(self) -> None:
        self._made = threading.Event()
        self._next = 0.0
        self._asked = 0
        self._left_over: tuple[int, Deadline] | None = None

    @property
    def made(self) -> bool:
        """Whether a halt is requested."""
        return self._made.is_set()

    def make(self) -> None:
        """Requests a halt."""
        self._asked = 0
        self._made.set()

    def drop(self) -> None:
        """Withdraws the request."""
        self._made.clear()

    def due(self) -> bool:
        """Whether it is time to send the request; if so, counts it as sent."""
        if not self._made.is_set() or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY_S
        self._asked += 1
        return True

    @property
    def by_reset(self) -> bool:
        """How to ask: a running target answers a break-in, one that another debugger left halted a reset."""
        return self._asked % 2 == 0

    def granted(self, pc: int) -> None:
        """Records that the target halted at `pc` on request."""
        self._made.clear()
        self._left_over = pc, Deadline.after(LEFT_OVER_S)

    def left_over(self, pc: int) -> bool:
        """Whether a break at `pc` answers a break-in that was asked for while the first was on its way."""
        left_over, self._left_over = self._left_over, None
        return left_over is not None and left_over[0] == pc and not left_over[1].expired
