"""Prints the progress of a run: steps that last over 2 s, with elapsed time.

On a terminal the running step is a live line; elsewhere a step is one line when it has ended. With `CI` in
the environment, or with `quiet`, only failures, warnings and steps over 30 s are shown.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

from harness.journal import Event

SHOW_AFTER_S = 2.0
SHOW_AFTER_QUIET_S = 30.0


class Progress:
    """A journal listener that prints to `stream`.

    Args:
        stream: where to print; colours and the live line only if it is a terminal.
        quiet: only failures and long steps.
        unmuted: context manager entered around each write; pytest's output capture is lifted by it.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        quiet: bool | None = None,
        unmuted: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._stream = stream or sys.stderr
        self._quiet = bool(os.environ.get("CI")) if quiet is None else quiet
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._terminal and not os.environ.get("NO_COLOR")
        self._unmuted = unmuted
        self._running: list[tuple[str, float]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._held = False
        self._ticker: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Takes one journal event."""
        kind = event.get("event")
        if kind == "start":
            with self._lock:
                self._running.append((str(event["step"]), time.monotonic()))
            self._tick()
        elif kind == "end":
            with self._lock:
                self._running = [entry for entry in self._running if entry[0] != event["step"]]
            self._ended(event)
        elif kind == "warning" or (kind == "note" and not self._quiet):
            self._line(f"  {event['text']}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is drawn inside the block: a person is typing."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def close(self) -> None:
        """Stops the live line."""
        self._stop.set()
        if self._ticker:
            self._ticker.join()
            self._ticker = None

    def _ended(self, event: Event) -> None:
        seconds = float(event.get("seconds", 0.0))
        ok = bool(event.get("ok"))
        if ok and seconds < (SHOW_AFTER_QUIET_S if self._quiet else SHOW_AFTER_S):
            return
        mark, colour = ("ok", "32") if ok else ("failed", "31")
        label = f"\x1b[{colour}m{mark:>6}\x1b[0m" if self._colour else f"{mark:>6}"
        self._line(f"{label} {event['step']}  {seconds:.1f} s")

    def _line(self, text: str) -> None:
        with self._unmuted():
            clear = "\r\x1b[K" if self._terminal else ""
            self._stream.write(f"{clear}{text}\n")
            self._stream.flush()

    def _tick(self) -> None:
        if self._terminal and not self._ticker and not self._stop.is_set():
            self._ticker = threading.Thread(target=self._live, name="progress", daemon=True)
            self._ticker.start()

    def _live(self) -> None:
        while not self._stop.wait(0.5):
            with self._lock:
                running = self._running[-1] if self._running else None
            if running and not self._held and (elapsed := time.monotonic() - running[1]) >= SHOW_AFTER_S:
                with self._unmuted():
                    self._stream.write(f"\r\x1b[K       {running[0]} … {elapsed:.0f} s")
                    self._stream.flush()
