"""A request to halt a running target: repeated until it halts; a late repeat may cause a second halt."""

from __future__ import annotations

import threading
import time

from harness.deadline import Deadline

EVERY_S = 0.5
LEFT_OVER_S = 2.0
"""For this many seconds after a break-in, another break at the same place is due to a repeated request."""


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
        """Whether the request is to be sent now; if so, counts it as sent."""
        if not self._made.is_set() or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY_S
        self._asked += 1
        return True

    @property
    def by_reset(self) -> bool:
        """Whether to send a RESET now: a running target answers a break-in, a halted one only a RESET."""
        return self._asked % 2 == 0

    def granted(self, pc: int) -> None:
        """Records that the target halted at `pc` on request."""
        self._made.clear()
        self._left_over = pc, Deadline.after(LEFT_OVER_S)

    def left_over(self, pc: int) -> bool:
        """Whether a break at `pc` answers a repeat of the break-in that has halted the target already."""
        left_over, self._left_over = self._left_over, None
        return left_over is not None and left_over[0] == pc and not left_over[1].expired
