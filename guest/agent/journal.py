"""The write-ahead journal: one JSON line per operation, on a serial port, before the operation is issued.

The host reads the port from outside the guest, so after a crash the last line names the operation under way.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from agent import underway

MAX_DETAIL = 300  # characters; a line without input then stays below 1 KiB, 3 ms on an emulated port

WriteLine = Callable[[bytes], None]


def discard(_line: bytes) -> None:
    """Used when the host's `hello` names no journal, for development without a serial port."""


class Journal:
    """Numbers operations from 1 and writes them; threads of a scenario share it.

    Attributes:
        count: operations recorded so far.
    """

    def __init__(self, write: WriteLine) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._scenario = ""
        self._run = 0
        self.count = 0

    def enter(self, scenario: str, run: int = 0) -> None:
        """Sets the scenario (empty: the agent itself) and the run that the next operations belong to."""
        self._scenario, self._run = scenario, run

    def record(self, operation: str, detail: str, call: dict[str, Any] | None = None) -> None:
        """Writes one line; returns when the port has taken it.

        Args:
            call: arguments with which `agent.replay` issues the operation again; None if it cannot.
        """
        with self._lock:
            self.count += 1
            entry = {
                "n": self.count,
                "run": self._run,
                "scenario": self._scenario,
                "op": operation,
                "detail": detail[:MAX_DETAIL],
            }
            if call is not None:
                entry["call"] = call
            self._write(json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n")
        underway.journalled(operation, detail)
