"""Delays Ctrl-C and SIGTERM until a clean-up is done, so that it leaves nothing behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_waiting: list[int] | None = None
"""Signals that came since the outermost `deferred` began; None outside of one."""


@contextmanager
def deferred() -> Iterator[None]:
    """Raises a `KeyboardInterrupt` that arrives in the block at the block's end; a second one, at once.

    May be nested: the outermost raises. Only the main thread gets signals: in other threads it does nothing.
    """
    global _waiting
    if _waiting is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _waiting = []
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    try:
        yield
    finally:
        came, _waiting = _waiting, None
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    if _waiting is None or _waiting:
        signal.default_int_handler(number, frame)
    _waiting.append(number)
