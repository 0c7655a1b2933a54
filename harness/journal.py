"""Step events of a run: each step's start and end go to run.jsonl as they happen, one JSON object a line.

A killed run leaves a file whose last line is the step it was in. Listeners (progress on a terminal) see the
same events. On a full disk events are lost, and the next event that fits records how many; the run goes on.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.host import locks

Event = dict[str, Any]
Listener = Callable[[Event], None]


class StepKind(StrEnum):
    """What a step is about, independent of its name; run.jsonl holds the value as `kind`."""

    SETUP = "setup"
    """Work on the host before and around a guest: builds, probes, checks."""
    IMAGE = "image"
    """A guest image is found, built or checked."""
    BOOT = "boot"
    """A guest is started."""
    RESTORE = "restore"
    """A guest is saved, restored, suspended or resumed."""
    END = "end"
    """A guest is ended."""
    DEPLOY = "deploy"
    """Files and the agent are brought into the guest."""
    DRIVER = "driver"
    """The driver is loaded or unloaded."""
    SCENARIO = "scenario"
    """One scenario runs."""
    CRASH = "crash"
    """The evidence of a crash is kept."""
    BUNDLE = "bundle"
    """The evidence of a crash is packed to be replayed elsewhere."""
    HANG = "hang"
    """A guest that no longer answers is examined."""
    REPLAY = "replay"
    """A crash is replayed or its operations are cut."""
    REPORT = "report"
    """Results are written or old ones are removed."""


class Journal:
    """Appends events to `path` (None: keeps no file) and hands them to listeners. Thread-safe.

    Events: `{"event": "start", "kind", "step", "time", ...data}`, then
    `{"event": "end", "kind", "step", "time", "seconds", "ok", "error"?}`; and
    `{"event": "note", "text", "time"}`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file = io.FileIO(path, "a") if path else None
        if self._file:
            locks.share(self._file.fileno())  # shows that the run has not ended
        self._lost = 0
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Adds a listener; it is called under the journal's lock and must be quick."""
        self._listeners.append(listener)

    @contextmanager
    def step(self, kind: StepKind, name: str, **data: object) -> Iterator[Event]:
        """Brackets one step.

        Args:
            kind: by which programs distinguish steps.
            name: what people read; no program depends on its words.
            data: goes into the start event.

        Yields:
            A mapping that may be filled with values for the end event.
        """
        began = time.monotonic()
        self._write({"event": "start", "kind": kind, "step": name, "time": time.time(), **data})
        found: Event = {}
        try:
            yield found
        except BaseException as error:
            self._end(kind, name, began, found, ok=False, error=f"{type(error).__name__}: {error}")
            raise
        self._end(kind, name, began, found, ok=True)

    def record(self, event: str, **data: object) -> None:
        """Records something that is not a step: a scenario's result, a crash."""
        self._write({"event": event, "time": time.time(), **data})

    def note(self, text: str) -> None:
        """Records a message for the user."""
        self.record("note", text=text)

    def warn(self, text: str) -> None:
        """Records a message that the user must see even if progress is quiet."""
        self.record("warning", text=text)

    def close(self) -> None:
        """Closes the file; later events reach listeners only."""
        with self._lock:
            if self._file:
                self._file.close()
                self._file = None

    def _end(
        self, kind: StepKind, name: str, began: float, found: Event, *, ok: bool, error: str = ""
    ) -> None:
        event = {
            "event": "end",
            "kind": kind,
            "step": name,
            "time": time.time(),
            "seconds": round(time.monotonic() - began, 3),
        }
        event |= {"ok": ok, **({"error": error} if error else {}), **found}
        self._write(event)

    def _write(self, event: Event) -> None:
        with self._lock:
            if self._file:
                self._append(self._file, event)
            for listener in self._listeners:
                listener(event)

    def _append(self, file: io.FileIO, event: Event) -> None:
        lines = [{"event": "lost", "events": self._lost, "time": event["time"]}] if self._lost else []
        data = b"".join(json.dumps(line, default=str).encode() + b"\n" for line in (*lines, event))
        end = os.fstat(file.fileno()).st_size
        try:
            written = file.write(data)
        except OSError:
            written = 0
        if written == len(data):
            self._lost = 0
            return
        self._lost += 1
        with suppress(OSError):
            file.truncate(end)


def is_open(path: Path) -> bool:
    """Whether the run that writes the journal at `path` still has it open."""
    try:
        return locks.is_shared(path)
    except OSError:
        return False
