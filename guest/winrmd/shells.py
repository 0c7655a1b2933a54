"""Shells and their commands: created, looked up, timed out, removed.

A command stays until a client has signalled it *and* received its end, or until its shell is deleted: a
client that reconnects still finds the exit code. An idle shell is removed after its timeout, in monotonic
time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from winrmd import commandline
from winrmd.envelope import Fault
from winrmd.process import Output, Process

MAX_SHELLS = 32
MAX_COMMANDS = 32
DEFAULT_IDLE_S = 7200.0

ERROR_INVALID_PARAMETER = 87


class NotFoundFault(Fault):
    """The request names a shell or a command that does not exist."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            2150858843,
            f"The request failed because the {kind} {name} was not found on the server.",
            subcode="w:InvalidSelectors",
            sender=True,
        )


class QuotaFault(Fault):
    """Too many shells, or too many commands in one shell."""

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(2150859174, f"No more than {limit} {kind} are allowed.", subcode="w:QuotaLimit")


@dataclass
class Command:
    """One command of a shell; whether a client has signalled it, and received its end."""

    id: str
    process: Process
    signalled: bool = False
    reported: bool = False

    def receive(
        self, names: Sequence[str], limit: int, timeout_s: float, abandoned: Callable[[], bool]
    ) -> Output | None:
        """See `Process.collect`."""
        output = self.process.collect(names, limit, timeout_s, abandoned)
        self.reported = self.reported or (output is not None and output.exit_code is not None)
        return output


@dataclass
class Shell:
    """The commands of one shell, and what they share."""

    id: str
    environment: dict[str, str]
    directory: str | None
    codepage: int | None
    idle_s: float
    created: float = field(default_factory=time.monotonic)
    last_used: float = field(default_factory=time.monotonic)
    in_use: int = 0
    closed: bool = False
    commands: dict[str, Command] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, command: str, arguments: Sequence[str], command_id: str, skip_shell: bool) -> Command:
        """Starts a command.

        Raises:
            Fault: the system cannot start it; the code is the system's error code.
            NotFoundFault: the shell was deleted at the same time.
            QuotaFault: the shell has too many commands.
        """
        with self.lock:
            self._make_room(command_id)
        # Without the lock: a start takes long in an emulated guest, and other commands must go on.
        process = self._start(command, arguments, skip_shell)
        with self.lock:
            if self.closed or command_id in self.commands:
                process.close()
                raise NotFoundFault("shell", self.id)
            started = Command(command_id, process)
            self.commands[command_id] = started
            return started

    def command(self, command_id: str) -> Command:
        """The command with that id, in upper case.

        Raises:
            NotFoundFault: there is none.
        """
        with self.lock:
            command = self.commands.get(command_id)
        if command is None:
            raise NotFoundFault("command", command_id)
        return command

    def signal(self, command_id: str, exit_code: int) -> None:
        """Ends a command, if it still runs: clients signal every command, also those that have ended."""
        with self.lock:
            command = self.commands.get(command_id)
            if command is None:
                return
            command.process.terminate(exit_code)
            command.signalled = True
            if command.reported:
                self._drop([command])

    def close(self) -> None:
        """Ends all commands."""
        with self.lock:
            self.closed = True
            self._drop(list(self.commands.values()))

    def _start(self, command: str, arguments: Sequence[str], skip_shell: bool) -> Process:
        environment = _merged(os.environ, self.environment)
        try:
            if skip_shell:
                line = commandline.direct(command, arguments)
            else:
                line = commandline.through_shell(command, arguments, environment.get("PATH"))
            return Process(line, environment, self.directory, self.codepage)
        except (OSError, ValueError) as error:
            code = (
                getattr(error, "winerror", None) or getattr(error, "errno", None) or ERROR_INVALID_PARAMETER
            )
            raise Fault(code, f"Cannot start the command: {error}", sender=True) from error

    def _make_room(self, command_id: str) -> None:
        if command_id in self.commands:
            raise Fault(183, f"Command {command_id} exists already.", subcode="w:AlreadyExists", sender=True)
        if len(self.commands) >= MAX_COMMANDS:
            # Some clients never signal a command that has ended; others never receive its end.
            self._drop(
                [command for command in self.commands.values() if command.signalled or command.reported]
            )
        if len(self.commands) >= MAX_COMMANDS:
            raise QuotaFault("commands", MAX_COMMANDS)

    def _drop(self, commands: Sequence[Command]) -> None:
        for command in commands:
            command.process.close()
            del self.commands[command.id]


class ShellTable:
    """All shells of the server."""

    def __init__(self) -> None:
        self._shells: dict[str, Shell] = {}
        self._lock = threading.Lock()

    def create(
        self,
        shell_id: str,
        environment: Mapping[str, str],
        directory: str | None,
        codepage: int | None,
        idle_s: float,
    ) -> Shell:
        """Adds a shell; with an empty id it gets a new one.

        Raises:
            QuotaFault: there are too many shells.
            Fault: a shell with this id exists.
        """
        shell = Shell(shell_id or new_id(), dict(environment), directory, codepage, idle_s)
        self.reap()
        with self._lock:
            if len(self._shells) >= MAX_SHELLS:
                raise QuotaFault("shells", MAX_SHELLS)
            if shell.id in self._shells:
                raise Fault(183, f"Shell {shell.id} exists already.", subcode="w:AlreadyExists", sender=True)
            self._shells[shell.id] = shell
        return shell

    def borrow(self, shell_id: str) -> Borrowed:
        """The shell with that id, for one request. It does not count as idle meanwhile.

        Raises:
            NotFoundFault: there is none.
        """
        with self._lock:
            shell = self._shells.get(shell_id)
            if shell is None:
                raise NotFoundFault("shell", shell_id)
            return Borrowed(shell, self._lock)

    def delete(self, shell_id: str) -> None:
        """Removes a shell and ends its commands.

        Raises:
            NotFoundFault: there is none.
        """
        with self._lock:
            shell = self._shells.pop(shell_id, None)
        if shell is None:
            raise NotFoundFault("shell", shell_id)
        shell.close()

    def reap(self) -> None:
        """Removes the shells that had no request for their idle time."""
        now = time.monotonic()
        with self._lock:
            idle = [s for s in self._shells.values() if not s.in_use and now - s.last_used > s.idle_s]
            for shell in idle:
                del self._shells[shell.id]
        for shell in idle:
            shell.close()

    def close(self) -> None:
        """Removes all shells."""
        with self._lock:
            shells = list(self._shells.values())
            self._shells.clear()
        for shell in shells:
            shell.close()


class Borrowed:
    """Context manager around a shell in use."""

    def __init__(self, shell: Shell, lock: threading.Lock) -> None:
        self._shell = shell
        self._lock = lock
        shell.in_use += 1

    def __enter__(self) -> Shell:
        return self._shell

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._shell.in_use -= 1
            self._shell.last_used = time.monotonic()


def new_id() -> str:
    """A new shell or command id, in upper case as lookups need it."""
    return str(uuid.uuid4()).upper()


def _merged(base: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    if sys.platform == "win32":
        extra = {name.upper(): value for name, value in extra.items()}
    return {**base, **extra}
