"""Commands in the guest over WinRM: one shell kept open, programs started directly, output streamed.

Protocol facts: [MS-WSMV] and pywinrm 0.5. Programs are started with WINRS_SKIP_CMD_SHELL, because a cmd.exe
for each costs 3 s in an emulated guest, and without WINRS_CONSOLEMODE_STDIN, because stdin is then a pipe and
not console input. Files never go through here (see `harness.transports.sftp`).
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

from winrm.exceptions import WinRMOperationTimeoutError
from winrm.protocol import Protocol

from harness.deadline import Deadline
from harness.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    InfrastructureError,
    TransportError,
)
from harness.interfaces import CommandResult, OnOutput
from harness.transports.to_end import run_to_end
from harness.transports.wsman import ConnectionPool, ShellNotFoundError, WinRmEndpoint

UTF8_CODEPAGE = 65001
POLL_S = 10.0
"""Longest single Receive; the guest answers `TimedOut` and is asked again."""
SEND_CHUNK = 64 << 10
"""Bytes of stdin in one Send: base64 and envelope stay below the 150 KiB both ends agree on."""
SEND_TIMEOUT_S = 60.0
LINE_LIMIT = 32_766
"""UTF-16 units of a command line: CreateProcessW takes 32,767 with the terminator. Wine cuts longer ones."""
CMD_LIMIT = 8191
"""UTF-16 units of a line that cmd.exe takes."""


@dataclass(frozen=True)
class CommandAddress:
    """Names a running guest command; stays valid across save and restore of the guest."""

    shell_id: str
    command_id: str


class WinRmProcess:
    """A running guest command; implements `harness.interfaces.GuestProcess`.

    `receive` may run in one thread while others `send` and `terminate`.
    """

    def __init__(self, pool: ConnectionPool, address: CommandAddress, name: str) -> None:
        self.address = address
        self._pool = pool
        self._name = name
        self._exit_code: int | None = None

    @property
    def exit_code(self) -> int | None:
        """Exit code as Windows' unsigned 32 bits, once `receive` has seen the end."""
        return self._exit_code

    @property
    def facts(self) -> dict[str, str]:
        """What finds this command again from another process."""
        return {"shell": self.address.shell_id, "command": self.address.command_id}

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Writes to the command's stdin; `end` closes it."""
        deadline = Deadline.after(SEND_TIMEOUT_S)
        chunks = [data[at : at + SEND_CHUNK] for at in range(0, len(data), SEND_CHUNK)] or [b""]
        for number, chunk in enumerate(chunks, 1):
            last = end and number == len(chunks)
            self._pool.call(
                f"write to {self._name}",
                deadline,
                lambda protocol, chunk=chunk, last=last: protocol.send_command_input(  # type: ignore[misc]
                    self.address.shell_id, self.address.command_id, chunk, end=last
                ),
            )

    def receive(self, deadline: Deadline) -> Iterator[tuple[str, bytes]]:
        """Yields (`stdout` or `stderr`, bytes) until the command ends or the deadline passes."""
        while self._exit_code is None and not deadline.expired:
            try:
                polled = self._pool.call(f"read from {self._name}", deadline, self._poll, POLL_S)
            except DeadlineError:
                return
            stdout, stderr, exit_code, done = polled or (b"", b"", 0, False)
            if stdout:
                yield "stdout", stdout
            if stderr:
                yield "stderr", stderr
            if done:
                self._exit_code = exit_code & 0xFFFFFFFF
            elif not stdout and not stderr:
                time.sleep(0.02)  # an endpoint that answers 'nothing yet' at once must not make this spin

    def terminate(self) -> None:
        """Ends the command and frees it on the guest; never raises for one that has ended."""
        if self._pool.lost:
            return
        try:
            self._pool.call(
                f"terminate {self._name}",
                Deadline.after(SEND_TIMEOUT_S).at_most(10.0),
                lambda protocol: protocol.cleanup_command(self.address.shell_id, self.address.command_id),
            )
        except InfrastructureError:
            return  # the guest is gone, and the command with it

    def _poll(self, protocol: Protocol) -> tuple[bytes, bytes, int, bool] | None:
        try:
            return protocol.get_command_output_raw(self.address.shell_id, self.address.command_id)
        except WinRMOperationTimeoutError:
            return None


class WinRmTransport:
    """Runs guest programs over WinRM; implements `harness.interfaces.Transport`.

    The shell is opened at the first use and serves every command. All methods may be called from any thread.
    """

    def __init__(self, endpoint: WinRmEndpoint) -> None:
        self.endpoint = endpoint
        self._pool = ConnectionPool(endpoint)
        self._shell_id: str | None = None
        self._owns_shell = False
        self._lock = threading.Lock()

    def wait_ready(self, deadline: Deadline, check: Callable[[], None] = lambda: None) -> None:
        """Waits until the guest answers a WS-Management request completely, and leaves a shell open.

        A connection alone proves nothing: the user network accepts it before the guest listens. `check` runs
        before every attempt and raises to give up early, e.g. because the machine died. A refused password or
        certificate ends the wait at once with `AuthenticationError`; a passed deadline is `DeadlineError`.
        """
        patience_s = 3.0  # a lost packet costs one short attempt, a slow guest gets longer ones
        failure: InfrastructureError | None = None
        for _ in deadline.tries(every=0.1):
            check()
            try:
                self._shell(deadline.at_most(patience_s))
            except AuthenticationError:
                raise
            except (TransportError, DeadlineError) as error:
                failure = error
                patience_s = min(patience_s * 1.5, 20.0)
            else:
                return
        check()
        raise DeadlineError(
            f"WinRM at {self.endpoint.url} did not answer within {deadline.seconds:g} s.",
            remedy="The guest's last console output, if it is shown below, says how far the guest got.",
            detail=str(failure or ""),
        )

    def run(
        self, argv: Sequence[str], deadline: Deadline, on_output: OnOutput | None = None
    ) -> CommandResult:
        """Runs a program to its end.

        With `on_output` the output goes there as it arrives and is not kept: `stdout` and `stderr` of the
        result are then empty. Without it at most `CAPTURE_LIMIT` bytes are kept, more is a `TransportError`.
        A command that outlives the deadline is terminated and raises `DeadlineError`.
        """
        return run_to_end(self.start(argv, deadline), argv, deadline, on_output)

    def start(self, argv: Sequence[str], deadline: Deadline) -> WinRmProcess:
        """Starts a program with open stdin. `argv[0]` is found by the guest as CreateProcess finds it."""
        program, arguments = _command_line(argv)
        try:
            address = self._command(program, arguments, deadline)
        except ShellNotFoundError:
            with self._lock:
                self._shell_id = None  # the guest was reverted to before this shell
            address = self._command(program, arguments, deadline)
        return WinRmProcess(self._pool, address, argv[0])

    def attach(self, address: CommandAddress, name: str) -> WinRmProcess:
        """A command that runs already, e.g. the interpreter that a saved guest holds; adopts its shell."""
        with self._lock:
            if self._shell_id is None:
                self._shell_id, self._owns_shell = address.shell_id, False
        return WinRmProcess(self._pool, address, name)

    def close(self) -> None:
        """Deletes the shell this transport opened, if the guest still answers, and drops the connections."""
        with self._lock:
            shell_id, self._shell_id = self._shell_id, None
        if shell_id is not None and self._owns_shell and not self._pool.lost:
            try:
                self._pool.call(
                    "delete the shell",
                    Deadline.after(3.0),
                    lambda protocol: protocol.close_shell(shell_id, close_session=False),
                )
            except InfrastructureError:
                self._pool.close()
                return  # the guest is gone, and the shell with it
        self._pool.close()

    def _shell(self, deadline: Deadline) -> str:
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise DeadlineError(
                f"WinRM: no shell was open within {deadline.seconds:g} s; another thread still opens it."
            )
        try:
            if self._shell_id is None:
                self._shell_id = self._pool.call(
                    "open a shell", deadline, lambda protocol: protocol.open_shell(codepage=UTF8_CODEPAGE)
                )
                self._owns_shell = True
            return self._shell_id
        finally:
            self._lock.release()

    def _command(self, program: str, arguments: list[str], deadline: Deadline) -> CommandAddress:
        shell_id = self._shell(deadline)
        command_id = self._pool.call(
            f"start {program}",
            deadline,
            lambda protocol: protocol.run_command(
                shell_id, program, arguments, console_mode_stdin=False, skip_cmd_shell=True
            ),
        )
        return CommandAddress(shell_id, command_id)


def _command_line(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Program and arguments, quoted so that the C runtime in the guest splits them into `argv` again."""
    for argument in argv:
        if any(character < " " and character not in "\t\n" for character in argument):
            # XML 1.0 cannot carry them, and turns a carriage return into a newline.
            raise ConfigurationError(
                f"The guest command argument {argument[:80]!r} holds a control character.",
                remedy="Put the text into a file and push it.",
            )
    if not argv or not argv[0]:
        raise ConfigurationError("The guest command is empty.", remedy="Name a program.")
    program, *arguments = [subprocess.list2cmdline([word]) for word in argv]
    _check_length("The command line", [program, *arguments], LINE_LIMIT, argv[0])
    if PureWindowsPath(argv[0]).stem.lower() == "cmd":
        _check_length("The line", arguments, CMD_LIMIT, argv[0])
    return program, arguments


def _check_length(what: str, words: Sequence[str], limit: int, program: str) -> None:
    units = len(" ".join(words).encode("utf-16-le", "surrogatepass")) // 2
    if units > limit:
        raise ConfigurationError(
            f"{what} of {program[:80]!r} has {units:,} UTF-16 units; Windows takes at most {limit:,}.",
            remedy="Put the arguments into a file, push it, and let the program read it.",
        )
