"""The debug stream of a Wine guest: follows the host file that the guest's Wine writes its stderr to."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.deadline import Deadline
from harness.debuggers.log import LOG_LIMIT
from harness.debuggers.logged import LINE_LIMIT, LoggedStream
from harness.debuggers.tail import FileTail
from harness.guests.wine import guard_lines, log_hints
from harness.guests.wine.debug_lines import CONTINUED, LoadedDriver, WineLines
from harness.interfaces import EntryStatus, KeptBlocks
from harness.outcome import DebugRecord, KernelCrash

POLL_S = 0.02
"""Seconds between reads of the file: a crash is detected this long after Wine printed it, at most."""
EAGER_S = 0.1
EAGER_POLL_S = 0.003
"""The guest's relay is 2 ms behind Wine. Who waits for a marker reads the file so often for so long: at the
thread's own pace each scenario would wait 10 ms."""
READ_SIZE = 1 << 20
POLL_READS = 16
UNREAD_LIMIT = 1 << 30
"""Most unread bytes in the file; if there are more, it is a crash of kind `flood`."""


class WineDebugStream(LoggedStream):
    """Implements `DebugStream`, `ToldByLog`, `ReadsLog` and `SeesPool` on the file of the guest's
    `org.winvm.dbgprint` port.

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
        super().__init__(log, marker, log_limit)
        self._tail = FileTail(source, reclaim=True, skip=skip)
        self._lines = WineLines(marker)
        self._clock = clock
        self._unread_limit = unread_limit
        self._partial = b""
        self._reading = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="wine-debug-stream", daemon=True)
        self._thread.start()

    def poll(self) -> None:
        """Reads what the file holds now, without waiting for the thread.

        The number of reads is bounded, and the lock is free between them: a guest may print faster than this
        reads.
        """
        for _ in range(POLL_READS):
            with self._reading:
                data = self._tail.read(READ_SIZE)
                if not data:
                    return
                self._take(data)
                self._look_for_flood()

    def wait_for_end_marker(self, scenario_id: int, deadline: Deadline) -> bool:
        """See `DebugStream`."""
        for _ in deadline.at_most(EAGER_S).tries(every=EAGER_POLL_S):
            self.poll()
            if super().wait_for_end_marker(scenario_id, Deadline.after(0)):
                return True
        return super().wait_for_end_marker(scenario_id, deadline)

    def crash(self) -> KernelCrash | None:
        """See `DebugStream`."""
        crash = super().crash()
        if crash is None:
            return None
        hinted = log_hints.hinted(crash, self.tail())
        if not hinted.stack or hinted.notes:
            return hinted
        return dataclasses.replace(hinted, notes=self.images())

    def entry_status(self, records: Iterable[DebugRecord]) -> EntryStatus | None:
        """See `ReadsLog`."""
        return log_hints.entry_status(records)

    def caught(self, records: Iterable[DebugRecord]) -> str:
        """See `SeesExceptions`."""
        return log_hints.caught(records)

    def kept_blocks(self, records: Iterable[DebugRecord]) -> tuple[KeptBlocks, ...]:
        """See `SeesPool`."""
        places: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for block in guard_lines.kept(records):
            places.setdefault((block.tag, block.stack), []).append(block.bytes)
        return tuple(KeptBlocks(len(sizes), sum(sizes), tag, stack) for (tag, stack), sizes in places.items())

    def images(self) -> tuple[str, ...]:
        """See `SeesPool`."""
        with self._reading:
            return self._lines.images()

    def is_noise(self, text: str) -> bool:
        """See `ReadsLog`."""
        return log_hints.is_noise(text)

    def drivers(self) -> tuple[LoadedDriver, ...]:
        """Driver images that Wine reported as loaded, with their base addresses; the newest last."""
        with self._reading:
            return self._lines.drivers

    def dismiss(self, why: str) -> None:
        """See `ToldByLog`."""
        with self._reading:
            self._log.append(self._clock(), [("harness", why)])
            self._lines.dismiss()
            with self._changed:
                self._crash = None

    def loaded_again(self) -> bool:
        """See `ToldByLog`."""
        with self._reading:
            return self._lines.loaded_again

    def rearm(self, source: Path | None = None) -> None:
        """Forgets the crash after the guest was reverted, and reads on; in `source` if the file is a new one.

        Unread output in the old file is from before the revert. Some of it is logged first; of a flood, the
        number of bytes that are dropped is logged.
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
            self._forget()

    def close(self) -> None:
        """Reads the rest of the file and stops; never raises."""
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
            text = f"The guest prints faster than the host reads: {unread >> 20} MiB are unread."
            with self._changed:
                self._crash = KernelCrash("flood", 0, (), time=self._clock(), text=text)
                self._changed.notify_all()

    def _flush(self) -> None:
        if self._partial:
            self._take(b"\n")

    def _take(self, data: bytes) -> None:
        """Logs the complete lines of `data`, then publishes the markers and the crash among them."""
        *complete, self._partial = (self._partial + data).split(b"\n")
        *long, self._partial = _pieces(self._partial)
        complete += long
        now = self._clock()
        lines = [
            self._lines.parse(piece.decode("utf-8", "backslashreplace"), now)
            for line in complete
            for piece in _pieces(line.removesuffix(b"\r"))
        ]
        crash = next((line.crash for line in lines if line.crash), None)
        self._record(now, [(line.source, line.text) for line in lines], crash)


def _pieces(line: bytes) -> list[bytes]:
    """The line itself, or several when it is longer than a record may be; the others continue the first."""
    limit = LINE_LIMIT + line.startswith(CONTINUED)
    first, rest = line[:limit], line[limit:]
    return [first, *(CONTINUED + rest[at : at + LINE_LIMIT] for at in range(0, len(rest), LINE_LIMIT))]
