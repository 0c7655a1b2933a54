"""Writes the run's dbgprint.log, every debug record with its host time, and reads records back from it.

The records are only in the file. Memory holds only offsets into it, so a guest that prints millions of lines
uses disk space up to a limit, and no memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from harness.outcome import DebugRecord

LOG_LIMIT = 512 << 20
"""Largest dbgprint.log in bytes; further output is dropped, and the last line says so."""
SLICE_LIMIT = 256 << 10
"""Most bytes of a slice that become records; of a longer slice, half from its start and half from its end."""


class DebugLog:
    """Appends debug records to a file, one a line: `2026-11-21T02:44:18.123456Z source text`.

    One thread appends, any thread reads.
    """

    def __init__(self, path: Path, limit: int = LOG_LIMIT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._limit = limit
        self._file = path.open("ab", buffering=0)
        self._end = self._file.seek(0, 2)
        self._full = False
        self._dropped = 0
        self._lock = threading.Lock()

    @property
    def end(self) -> int:
        """Offset in bytes after the last record."""
        return self._end

    def append(self, time: float, lines: Iterable[tuple[str, str]]) -> list[int]:
        """Appends (source, text) lines that arrived at `time`; returns the offset at which each starts."""
        stamp = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with self._lock:
            end = self._end
            starts: list[int] = []
            batch: list[bytes] = []
            for source, text in lines:
                starts.append(end)
                if self._full:
                    self._dropped += 1
                    continue
                line = f"{stamp} {source} {text}\n".encode("utf-8", "backslashreplace")
                if end + len(line) > self._limit:
                    line = f"{stamp} harness debug output beyond {self._limit} bytes is dropped\n".encode()
                    self._full = True
                    self._dropped += 1
                batch.append(line)
                end += len(line)
            self._write(b"".join(batch))
        return starts

    def _write(self, data: bytes) -> None:
        """Writes whole lines; a full disk ends the log, but crashes must still be detected."""
        if not data or self._file.closed:
            return
        try:
            written = self._file.write(data)
        except OSError:
            written = 0
        kept = data.rfind(b"\n", 0, written) + 1
        self._full = self._full or written < len(data)
        self._dropped += data.count(b"\n", kept)
        self._end += kept

    def read(self, start: int, end: int, limit: int = SLICE_LIMIT) -> tuple[DebugRecord, ...]:
        """The records between two offsets; from a longer range the first and last `limit / 2` bytes."""
        with self.path.open("rb") as file:
            if end - start <= limit:
                file.seek(start)
                return _records(file.read(end - start))
            file.seek(start)
            head = file.read(limit // 2).rpartition(b"\n")[0]
            file.seek(end - limit // 2)
            tail = file.read(limit // 2).partition(b"\n")[2]
        first, last = _records(head), _records(tail)
        omitted = end - start - len(head) - len(tail)
        gap = DebugRecord(last[0].time if last else 0.0, "harness", f"[{omitted} bytes omitted]")
        return (*first, gap, *last)

    def read_some(self, start: int, limit: int) -> tuple[tuple[DebugRecord, ...], int]:
        """About `limit` bytes of records from `start` on, and the offset after them."""
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(min(limit, self._end - start))
        data = data[: data.rfind(b"\n") + 1]
        return _records(data), start + len(data)

    def tail(self, limit: int) -> tuple[DebugRecord, ...]:
        """The whole records among the last `limit` bytes."""
        start = max(0, self._end - limit)
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(self._end - start)
        return _records(data.partition(b"\n")[2] if start else data)

    def close(self) -> None:
        """Writes how many lines were dropped and ends appending; the file can still be read."""
        with self._lock:
            if self._dropped and not self._file.closed:
                stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                self._write(f"{stamp} harness {self._dropped} lines of debug output were dropped\n".encode())
            self._file.close()


def _records(data: bytes) -> tuple[DebugRecord, ...]:
    records = []
    for line in data.split(b"\n"):
        stamp, _, rest = line.decode().partition(" ")
        source, _, text = rest.partition(" ")
        if source:
            records.append(DebugRecord(datetime.fromisoformat(stamp).timestamp(), source, text))
    return tuple(records)
