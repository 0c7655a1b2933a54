"""The journal: one JSON line per event, on a serial port that the host reads from outside, and in a file.

    {"step": "test signing", "phase": "apply", "state": "done", "seconds": 0.41, "message": ""}

| phase | state | when |
|---|---|---|
| start | running, resumed, failed | the process starts; failed: the settings cannot be used |
| apply | running, then done, already, failed, or skipped | a step; already: it had nothing to change |
| restart | running, failed | Windows is about to restart; the next line is start/resumed |
| check | ok, wrong | one line per setting of the self-check; adds `setting`, `wanted`, `found`, `wished` |
| end | ok, failed, waiting | the last line; waiting: only a restart is needed, and it was not allowed |

Lines of the phases start, restart and end have the step "provision".
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable

WHOLE = "provision"
MAX_TEXT = 1000  # characters of one value; a line stays below 4 KiB
MASK = "***"

WriteLine = Callable[[bytes], None]


class Journal:
    """Writes events to every sink; replaces the value of a secret in any text by `***`.

    A sink that fails is ignored: provisioning goes on, and the other sinks have the line.
    """

    def __init__(self, sinks: Iterable[WriteLine], secrets: Iterable[str] = ()) -> None:
        self._sinks = tuple(sinks)
        # The longest first: one secret may be part of another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def write(
        self, step: str, phase: str, state: str, seconds: float = 0.0, message: str = "", **texts: str
    ) -> None:
        """Writes one event; `seconds` is the duration of what it reports."""
        event: dict[str, str | float] = {
            "step": step,
            "phase": phase,
            "state": state,
            "seconds": round(seconds, 2),
            "message": self._shown(message),
        }
        event |= {name: self._shown(text) for name, text in texts.items()}
        # ASCII and one line, whatever a tool printed.
        line = json.dumps(event, ensure_ascii=True).encode("ascii") + b"\n"
        for sink in self._sinks:
            with contextlib.suppress(OSError):
                sink(line)

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text[:MAX_TEXT]
