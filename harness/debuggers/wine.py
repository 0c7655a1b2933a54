"""The debug stream of a Wine guest: follows the host file that the guest's Wine writes its stderr to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.debuggers.log import LOG_LIMIT, DebugLog
from harness.debuggers.tail import FileTail
from harness.debuggers.wine_lines import LoadedDriver, WineLines
from harness.outcome import Crash, DebugRecord

POLL_S = 0.02
"""Seconds between looks at the file: a crash is known this much after Wine printed it."""
READ_SIZE = 1 << 20
POLL_READS = 16
LINE_LIMIT = 8192
"""Bytes of one record's text; a longer line goes on in the next record."""
RECORDS_LIMIT = 4 << 20
"""Bytes of the log that one call of `records` turns into records."""
UNREAD_LIMIT = 1 << 30
"""Bytes that the guest may be ahead of this reader; one that prints faster for so long is given up."""
SLICES_LIMIT = 100_000
TAIL_BYTES = 64 << 10


@dataclass
class _Slice:
    """Where one scenario's output lies in the log, in bytes; `ended` once its end marker came."""

    start: int
    end: int | None = None
    ended: bool = False


class WineDebugStream:
    """Implements `harness.interfaces.DebugStream` on the file of the guest's `org.winvm.dbgprint` port.

    Args:
        source: the host file QEMU appends to; need not exist yet.
        log: where every record is written with its host time (`dbgprint.log`).
        nonce: names this run in the agent's markers `WINVM-MARK <nonce> begin|end <id> <name>`.
        skip: bytes of `source` that an earlier stream has read.
    """

    def __init__(
        self,
        source: Path,
        log: Path,
        nonce: str,
        log_limit: int = LOG_LIMIT,
        unread_limit: int = UNREAD_LIMIT,
        clock: Callable[[], float] = time.time,
        skip: int = 0,
    ) -> None:
        marker = f"WINVM-MARK {nonce} "
        self._marker = re.compile(re.escape(marker) + r"(begin|end) (\d{1,9})(?: |$)")
        self._tail = FileTail(source, reclaim=True, skip=skip)
        self._log = DebugLog(log, log_limit)
        self._lines = WineLines(marker)
        self._clock = clock
        self._unread_limit = unread_limit
        self._partial = b""
        self._returned = self._log.end
        self._slices: dict[int, _Slice] = {}
        self._open: _Slice | None = None
        self._crash: Crash | None = None
        self._changed = threading.Condition()
        self._reading = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="wine-debug-stream", daemon=True)
        self._thread.start()

    def records(self) -> Sequence[DebugRecord]:
        """Records not returned before, oldest first, some megabytes at most; does not block."""
        records, self._returned = self._log.read_some(self._returned, RECORDS_LIMIT)
        return records

    def crash(self) -> Crash | None:
        """The first crash seen since `rearm`, if any; scenario and artefacts are not filled in."""
        return self._crash

    def poll(self) -> None:
        """Takes in what the file holds now, without waiting for the thread.

        Bounded, and with the lock free in between: a guest may print faster than this reads.
        """
        for _ in range(POLL_READS):
            with self._reading:
                data = self._tail.read(READ_SIZE)
                if not data:
                    return
                self._take(data)
                self._look_for_flood()

    def slice(self, scenario_id: int) -> tuple[DebugRecord, ...]:
        """What was printed between the markers of one run of a scenario, without the markers.

        Up to the newest record when the end marker never came; empty for an id whose begin never came. The
        middle of a very long slice is left out, with a record that says so.
        """
        with self._changed:
            found = self._slices.get(scenario_id)
            if found is None:
                return ()
            start, end = found.start, self._log.end if found.end is None else found.end
        return self._log.read(start, end)

    def tail(self) -> tuple[DebugRecord, ...]:
        """The newest records, some tens of kilobytes of them: what came before a crash."""
        return self._log.tail(TAIL_BYTES)

    def wait_for_end_marker(self, scenario_id: int, deadline: Deadline) -> bool:
        """Waits until the slice of a scenario is complete; False when the deadline passed first."""

        def ended() -> bool:
            found = self._slices.get(scenario_id)
            return found is not None and found.ended

        with self._changed:
            return self._changed.wait_for(ended, deadline.remaining())

    def drivers(self) -> tuple[LoadedDriver, ...]:
        """Driver images that Wine reported as loaded, with their base addresses; the newest last."""
        with self._reading:
            return self._lines.drivers

    def rearm(self, source: Path | None = None) -> None:
        """Forgets the crash after the guest was reverted, and reads on; in `source` if the file is a new one.

        What the old file still held belongs to the time before: some of it is logged first, and of a flood
        the number of bytes that are not.
        """
        with self._reading:
            self.poll()
            self._flush()
            if source is not None:
                self._tail.close()
                self._tail = FileTail(source, reclaim=True)
            if dropped := self._tail.abandon():
                text = f"{dropped} bytes of debug output from before the restore were dropped"
                self._log.append(self._clock(), [("harness", text)])
            self._lines.forget()
            with self._changed:
                self._crash = None
                self._close_slice(self._log.end)

    def close(self) -> None:
        """Takes in the rest of the file and stops reading; never raises."""
        self._stop.set()
        self._thread.join(5.0)
        with self._reading:
            self._tail.close()
            self._log.close()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self.poll()
        with self._reading:
            self.poll()
            self._flush()

    def _look_for_flood(self) -> None:
        if self._crash is None and (unread := self._tail.unread()) > self._unread_limit:
            text = f"The guest prints faster than it can be read: {unread >> 20} MiB are waiting."
            with self._changed:
                self._crash = Crash("flood", 0, (), scenario="", time=self._clock(), text=text)
                self._changed.notify_all()

    def _flush(self) -> None:
        if self._partial:
            self._take(b"\n")

    def _take(self, data: bytes) -> None:
        """Logs the complete lines of `data`, then publishes the markers and the crash among them."""
        *complete, self._partial = (self._partial + data).split(b"\n")
        while len(self._partial) > LINE_LIMIT:
            complete.append(self._partial[:LINE_LIMIT])
            self._partial = self._partial[LINE_LIMIT:]
        now = self._clock()
        lines = [
            self._lines.parse(piece.decode("utf-8", "backslashreplace"), now)
            for line in complete
            for piece in _pieces(line.removesuffix(b"\r"))
        ]
        starts = self._log.append(now, ((line.source, line.text) for line in lines))
        with self._changed:
            for number, line in enumerate(lines):
                self._crash = self._crash or line.crash
                if line.source == "dbgprint" and (mark := self._marker.match(line.text)):
                    after = starts[number + 1] if number + 1 < len(starts) else self._log.end
                    self._mark(mark[1], int(mark[2]), starts[number], after)
            self._changed.notify_all()

    def _mark(self, edge: str, scenario_id: int, start: int, after: int) -> None:
        if edge == "begin" and len(self._slices) < SLICES_LIMIT:
            self._close_slice(start)
            self._open = self._slices[scenario_id] = _Slice(after)
        elif edge == "end" and (found := self._slices.get(scenario_id)) is not None and not found.ended:
            found.ended = True
            found.end = start if found.end is None else found.end

    def _close_slice(self, end: int) -> None:
        if self._open is not None and self._open.end is None:
            self._open.end = end
        self._open = None


def _pieces(line: bytes) -> list[bytes]:
    """The line itself, or several when it is longer than a record may be."""
    return [line[at : at + LINE_LIMIT] for at in range(0, len(line), LINE_LIMIT)] or [b""]
