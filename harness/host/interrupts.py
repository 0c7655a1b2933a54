"""Ctrl-C, SIGTERM and SIGHUP end a process in order: a clean-up is done first, and no guest
outlives them for long.

The first signal raises `KeyboardInterrupt`; `deferred` holds it back while something is cleaned up. `GRACE_S`
later, whatever the clean-up waits for, the functions given to `at_last` are called; they end guests. A second
Ctrl-C calls them and leaves at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 2.0
"""Seconds that a clean-up has before guests are killed."""
TOGETHER_S = 0.5
"""Signals within this time are one: a terminal signals a whole group, and make its children once more."""
INTERRUPTED = 130
CTRL_C = "Ctrl-C"
_LOOK_S = 0.2
_SIGHUP_BIT = 1 << (signal.SIGHUP - 1)

_waiting: list[int] | None = None
"""Signals that came since the outermost `deferred` began; None outside of one."""
_first = 0.0
"""When the first signal came, by the monotonic clock; 0 before."""
_came = ""
"""What the first signal is called; empty before."""
_last: list[Callable[[], None]] = []


def install() -> None:
    """Handles the signals in this process, which must be in its main thread; safe to repeat."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    atexit.register(leave_nothing)
    _listen_through_make()


def came() -> str:
    """What has interrupted this process: `Ctrl-C`, `SIGTERM` or `SIGHUP`; empty while nothing has."""
    return _came


def at_last(end: Callable[[], None]) -> Callable[[], None]:
    """Has `end` called when a clean-up takes too long, or does not happen; returns what takes that back.

    `end` may be called in any thread, more than once.
    """
    _last.append(end)

    def take_back() -> None:
        with contextlib.suppress(ValueError):
            _last.remove(end)

    return take_back


def leave_nothing() -> None:
    """Calls what was given to `at_last`, and goes on whatever it raises."""
    for end in _last:
        with contextlib.suppress(Exception):
            end()


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
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler not in (_interrupt, signal.SIG_IGN):
            signal.signal(number, _note)
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _came, _first
    if number == signal.SIGHUP:
        _let_go_of_the_terminal()
    now = time.monotonic()
    if not _first:
        _first = now
        _came = CTRL_C if number == signal.SIGINT else signal.Signals(number).name
        late = threading.Timer(GRACE_S, leave_nothing)
        late.daemon = True
        late.start()
    elif now - _first < (TOGETHER_S if number == signal.SIGINT else GRACE_S + TOGETHER_S):
        return
    else:
        leave_nothing()
        with contextlib.suppress(OSError):
            os.write(2, b"\nwinvm: interrupted.\n")
        os._exit(INTERRUPTED)
    if _waiting is not None:
        _waiting.append(number)
    else:
        signal.default_int_handler(number, frame)


def _let_go_of_the_terminal() -> None:
    """A closed terminal fails every write; what is still said goes nowhere, also through copies of its
    descriptors, as pytest keeps them."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(link.readlink()).startswith(("/dev/pts/", "/dev/tty")):
                os.dup2(nowhere, int(link.name))
    os.close(nowhere)


def _listen_through_make() -> None:
    """Notices that make got SIGHUP: it tells its recipe nothing and waits for it, without its handler."""
    parent = os.getppid()
    if _caught(parent) & _SIGHUP_BIT:
        threading.Thread(target=_watch, args=(parent,), name="make's signals", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent and _caught(parent) & _SIGHUP_BIT:
        time.sleep(_LOOK_S)
    if os.getppid() == parent:
        os.kill(os.getpid(), signal.SIGHUP)


def _caught(process: int) -> int:
    """The signals that a process handles, if it is make; else none."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    fields = dict(line.partition(":")[::2] for line in status.splitlines())
    return int(fields["SigCgt"], 16) if fields["Name"].strip() in ("make", "gmake") else 0
