"""JSON lines between host and agent: commands in, events out, one object a line, every size capped.

Only `Wire` writes to the process's real stdout, so that nothing a scenario prints can break the framing.
"""

from __future__ import annotations

import json
import threading
from typing import Any, BinaryIO

VERSION = 1
MAX_COMMAND = 1 << 20  # bytes of one incoming line
MAX_MESSAGE = 4_000  # characters of a one-line message
MAX_DETAIL = 32_000  # characters of a traceback


class ProtocolError(Exception):
    """The host sent something that is not a command."""


class Wire:
    """The two ends of the conversation with the host. `send` may be called from any thread."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()

    def receive(self) -> dict[str, Any] | None:
        """The next command; None when the host has closed the stream.

        Raises:
            ProtocolError: the line is too long, not JSON, or not an object with a `cmd`.
        """
        line = self._source.readline(MAX_COMMAND)
        if not line:
            return None
        if not line.endswith(b"\n") and len(line) >= MAX_COMMAND:
            raise ProtocolError(f"a command is longer than {MAX_COMMAND} bytes")
        try:
            command = json.loads(line)
        except ValueError as error:
            raise ProtocolError(f"not JSON: {line[:200]!r}") from error
        if not isinstance(command, dict) or not isinstance(command.get("cmd"), str):
            raise ProtocolError(f"not a command: {line[:200]!r}")
        return command

    def send(self, event: str, **fields: Any) -> None:
        """Writes one event, in ASCII, so that no code page between guest and host can change it."""
        line = json.dumps({"event": event, **_encodable(fields)}, ensure_ascii=True).encode("ascii") + b"\n"
        with self._lock:
            self._sink.write(line)
            self._sink.flush()


def _encodable(value: Any) -> Any:
    """`value` with lone surrogates, which JSON must not carry, written as the text `\\udcNN`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def cut(text: str, limit: int) -> str:
    """`text`, shortened in the middle to `limit` characters when it is longer."""
    if len(text) <= limit:
        return text
    half = (limit - 40) // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters left out ... {text[-half:]}"
