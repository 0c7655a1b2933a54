"""A debug stream that prints and reports crashes as the test asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from harness.deadline import Deadline
from harness.guests.wine import log_hints
from harness.interfaces import EntryStatus
from harness.outcome import DebugRecord, KernelCrash


class FakeDebugStream:
    """Implements `DebugStream` with scenario slices, and `ReadsLog` as Wine's does; any thread may print."""

    def __init__(self, nonce: str = "nonce") -> None:
        self.nonce = nonce
        self.closed = False
        self._all: list[DebugRecord] = []
        self._returned = 0
        self._begun: dict[int, int] = {}
        self._ended: dict[int, int] = {}
        self._crash: KernelCrash | None = None
        self._changed = threading.Condition()

    def say(self, text: str, source: str = "dbgprint") -> None:
        """The guest prints one line."""
        with self._changed:
            self._all.append(DebugRecord(time.time(), source, text))
            self._changed.notify_all()

    def mark(self, edge: str, scenario_id: int) -> None:
        """The agent prints its `begin` or `end` marker."""
        with self._changed:
            (self._begun if edge == "begin" else self._ended)[scenario_id] = len(self._all)
            self._changed.notify_all()

    def break_down(self, kind: str = "bugcheck", code: int = 0xE2, *parameters: int) -> KernelCrash:
        """The driver goes down."""
        with self._changed:
            crash = KernelCrash(kind, code, parameters, time=time.time(), text=f"{kind} {code:#x}")
            self._crash = self._crash or crash
            self._changed.notify_all()
        return crash

    def records(self) -> Sequence[DebugRecord]:
        new, self._returned = self._all[self._returned :], len(self._all)
        return new

    def crash(self) -> KernelCrash | None:
        return log_hints.hinted(self._crash, self._all) if self._crash else None

    def entry_status(self, records: Iterable[DebugRecord]) -> EntryStatus | None:
        return log_hints.entry_status(records)

    def is_noise(self, text: str) -> bool:
        return log_hints.is_noise(text)

    def slice(self, scenario_id: int, *, late: bool = False) -> tuple[DebugRecord, ...]:
        if scenario_id not in self._begun:
            return ()
        end = None if late else self._ended.get(scenario_id)
        return tuple(self._all[self._begun[scenario_id] : end])

    def tail(self) -> tuple[DebugRecord, ...]:
        return tuple(self._all)

    def wait_for_end_marker(self, scenario_id: int, deadline: Deadline) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: scenario_id in self._ended, deadline.remaining())

    def rearm(self) -> None:
        self._crash = None

    def close(self) -> None:
        self.closed = True


class FakeLogStream(FakeDebugStream):
    """A stream that knows of a crash by the text of a log, as Wine's does; implements `ToldByLog`."""

    loaded = False
    """What `loaded_again` says."""

    def dismiss(self, why: str) -> None:
        self.say(why, "harness")
        self._crash = None

    def loaded_again(self) -> bool:
        return self.loaded
