"""The part all debug streams share: the log, the slices between the agent's markers, and the crash."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.debuggers.log import LOG_LIMIT, DebugLog
from harness.outcome import DebugRecord, KernelCrash

LINE_LIMIT = 8192
"""Characters of one record's text; a longer line goes on in the next record."""
RECORDS_LIMIT = 4 << 20
"""Bytes of the log that one call of `records` turns into records."""
MARKED = ("dbgprint", "user")
"""Sources of the agent's markers: Wine tells the DbgPrint of another process from the driver's."""
SLICES_LIMIT = 100_000
TAIL_BYTES = 64 << 10


@dataclass
class _Slice:
    """Byte offsets of one scenario's output in the log; `after`: behind its end marker, if it arrived."""

    start: int
    end: int | None = None
    after: int | None = None


class LoggedStream:
    """The half of `harness.interfaces.DebugStream` that does not depend on where the records come from.

    Args:
        log: where every record is written with its host time (`dbgprint.log`).
        marker: the beginning of the agent's markers, `<marker>begin|end <id> <name>`.
    """

    def __init__(self, log: Path, marker: str, log_limit: int = LOG_LIMIT) -> None:
        self._marker = re.compile(re.escape(marker) + r"(begin|end) (\d{1,9})(?: |$)")
        self._log = DebugLog(log, log_limit)
        self._returned = self._log.end
        self._slices: dict[int, _Slice] = {}
        self._open: _Slice | None = None
        self._crash: KernelCrash | None = None
        self._changed = threading.Condition()

    def records(self) -> Sequence[DebugRecord]:
        """Records not returned before, oldest first, some megabytes at most; does not block."""
        records, self._returned = self._log.read_some(self._returned, RECORDS_LIMIT)
        return records

    def crash(self) -> KernelCrash | None:
        """The first crash seen since `rearm`, if any; scenario and artefacts are not filled in."""
        return self._crash

    def slice(self, scenario_id: int, *, late: bool = False) -> tuple[DebugRecord, ...]:
        """The records between the markers of one run of a scenario, without the markers.

        Without an end marker the slice goes up to the newest record; without a begin marker it is empty. The
        middle of a very long slice is left out, with a record that says so.

        Args:
            late: also return all records after the end marker, up to now.
        """
        with self._changed:
            found = self._slices.get(scenario_id)
            if found is None:
                return ()
            end, after = self._log.end if found.end is None else found.end, found.after
        records = self._log.read(found.start, end)
        return records if after is None or not late else (*records, *self._log.read(after, self._log.end))

    def tail(self) -> tuple[DebugRecord, ...]:
        """The newest records, some tens of kilobytes of them; they show what happened before a crash."""
        return self._log.tail(TAIL_BYTES)

    def wait_for_end_marker(self, scenario_id: int, deadline: Deadline) -> bool:
        """Waits until the slice of a scenario is complete; False when the deadline passed first."""

        def ended() -> bool:
            found = self._slices.get(scenario_id)
            return found is not None and found.after is not None

        with self._changed:
            return self._changed.wait_for(ended, deadline.remaining())

    def add(self, time: float, source: str, text: str, crash: KernelCrash | None = None) -> None:
        """Adds a record that is not the guest's debug output; keeps its crash if it is the first."""
        self._record(time, [(source, text)], crash)

    def _record(
        self, time: float, lines: Sequence[tuple[str, str]], crash: KernelCrash | None = None
    ) -> None:
        """Logs (source, text) lines, then publishes the markers among them and the crash they report."""
        starts = self._log.append(time, lines)
        with self._changed:
            self._crash = self._crash or crash
            for number, (source, text) in enumerate(lines):
                if source in MARKED and (mark := self._marker.match(text)):
                    after = starts[number + 1] if number + 1 < len(starts) else self._log.end
                    self._mark(mark[1], int(mark[2]), starts[number], after)
            self._changed.notify_all()

    def _forget(self) -> None:
        """Forgets the crash and the running scenario after the guest was reverted."""
        with self._changed:
            self._crash = None
            self._close_slice(self._log.end)

    def _mark(self, edge: str, scenario_id: int, start: int, after: int) -> None:
        if edge == "begin" and len(self._slices) < SLICES_LIMIT:
            self._close_slice(start)
            self._open = self._slices[scenario_id] = _Slice(after)
        elif edge == "end" and (found := self._slices.get(scenario_id)) is not None and found.after is None:
            found.after = after
            found.end = start if found.end is None else found.end

    def _close_slice(self, end: int) -> None:
        if self._open is not None and self._open.end is None:
            self._open.end = end
        self._open = None
