"""The host's commands, read by a thread of their own: `look` is answered while a scenario runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from agent.protocol import ProtocolError, Wire

Command = dict[str, Any]


class Inbox:
    """Reads commands until `quit` or the end of the host's stream.

    Args:
        answer: called in the reading thread for each `look`.
    """

    def __init__(self, wire: Wire, answer: Callable[[Command], None]) -> None:
        self._wire = wire
        self._answer = answer
        self._commands: queue.Queue[Command | ProtocolError | None] = queue.Queue()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def receive(self) -> Command | None:
        """The next command other than `look`; None when the host has closed the stream.

        Raises:
            ProtocolError: the host sent something that is not a command.
        """
        command = self._commands.get()
        if isinstance(command, ProtocolError):
            raise command
        return command

    def unread(self, command: Command | None) -> None:
        """Gives a command back that its receiver has no use for; `receive` returns it again."""
        self._commands.put(command)

    def _read(self) -> None:
        command: Command | ProtocolError | None = {}
        while isinstance(command, dict) and command.get("cmd") != "quit":
            try:
                command = self._wire.receive()
            except ProtocolError as error:
                command = error
            if isinstance(command, dict) and command["cmd"] == "look":
                self._answer(command)
            else:
                self._commands.put(command)
