"""Commands in the guest over its serial line; the guest's end is `guest/seriald`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harness.deadline import Deadline
from harness.display.terminal import printable
from harness.errors import ConfigurationError, DeadlineError, InfrastructureError, TransportError
from harness.interfaces import CommandResult, OnOutput
from harness.transports.serial_line import SerialLine
from harness.transports.serial_messages import (
    EXIT,
    INPUT,
    INPUT_BYTES,
    NUMBER,
    OUTPUT,
    REPLY,
    START,
    STREAMS,
    TERMINATE,
    MessageError,
    described,
    fields,
    message,
)
from harness.transports.to_end import run_to_end

SEND_TIMEOUT_S = 60.0
TERMINATE_TIMEOUT_S = 5.0


def call(line: SerialLine, kind: int, deadline: Deadline, **asked: object) -> dict[str, object]:
    """Asks the guest for something and waits for its reply.

    Raises:
        TransportError: it is refused, or the line is lost.
        DeadlineError: no reply came.
    """
    number = line.new_call()
    try:
        line.send(request(kind, number, **asked), deadline)
        return reply(line, number, deadline)
    finally:
        line.forget("call", number)


def request(kind: int, number: int, **asked: object) -> bytes:
    """A call's message; raises `ConfigurationError` if it is too long for the line."""
    try:
        return described(kind, number, **asked)
    except MessageError as error:
        raise ConfigurationError(
            f"The guest cannot be asked for this over its serial line: {error}.",
            remedy="Put long arguments into a file and push it.",
        ) from error


def reply(line: SerialLine, number: int, deadline: Deadline) -> dict[str, object]:
    """The reply to a call; other messages before it are skipped. Raises as `call`."""
    while found := line.next("call", number, deadline):
        kind, body = found
        if kind != REPLY:
            continue
        try:
            answer = fields(body)
        except MessageError as error:
            raise TransportError(f"Serial line: {error}.") from error
        if "error" in answer:
            raise TransportError(f"The guest refused: {printable(str(answer['error'])[:300])}.")
        return answer
    raise DeadlineError(f"The guest did not answer on its serial line within {deadline.seconds:g} s.")


class SerialProcess:
    """A running guest command; implements `harness.interfaces.GuestProcess`.

    Attributes:
        number: names the program in the guest, also after the guest was saved and restored.
    """

    def __init__(self, line: SerialLine, number: int, name: str) -> None:
        self.number = number
        self._line = line
        self._name = name
        self._exit_code: int | None = None

    @property
    def exit_code(self) -> int | None:
        """Exit code as Windows' unsigned 32 bits, once `receive` has seen the end."""
        return self._exit_code

    @property
    def facts(self) -> dict[str, str]:
        """What finds this program again from another process."""
        return {"process": str(self.number)}

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Writes to the command's stdin; `end` closes it."""
        deadline = Deadline.after(SEND_TIMEOUT_S)
        pieces = [data[at : at + INPUT_BYTES] for at in range(0, len(data), INPUT_BYTES)] or [b""]
        for count, piece in enumerate(pieces, 1):
            last = end and count == len(pieces)
            self._line.send(message(INPUT, self.number, bytes((last,)) + piece), deadline)

    def receive(self, deadline: Deadline) -> Iterator[tuple[str, bytes]]:
        """Yields (`stdout` or `stderr`, bytes) until the command ends or the deadline passes."""
        self._line.connect(deadline)
        self._line.listen(self.number)
        while self._exit_code is None:
            found = self._line.next("process", self.number, deadline)
            if found is None:
                return
            kind, body = found
            if kind == EXIT and len(body) == NUMBER.size:
                self._exit_code = NUMBER.unpack(body)[0]
            elif kind == OUTPUT and body and (stream := STREAMS.get(body[0])):
                self._line.consumed(self.number, len(body) - 1, deadline)
                yield stream, body[1:]

    def terminate(self) -> None:
        """Ends the command; never raises for one that has ended."""
        if self._line.lost:
            return
        try:
            self._line.send(message(TERMINATE, self.number), Deadline.after(TERMINATE_TIMEOUT_S))
        except InfrastructureError:
            return  # the guest is gone, and the command with it
        self._line.forget("process", self.number)


class SerialTransport:
    """Runs guest programs over a serial line; implements `harness.interfaces.Transport`.

    Programs live on in the guest when the line is closed. All methods may be called from any thread.
    """

    def __init__(self, line: SerialLine) -> None:
        self._line = line

    def wait_ready(self, deadline: Deadline, check: Callable[[], None] = lambda: None) -> None:
        """Waits until the guest answers.

        `check` runs before every attempt and raises to give up early, e.g. because the machine died.

        Raises:
            DeadlineError: it does not answer in time.
            TransportError: QEMU ended.
        """
        for _ in deadline.tries(every=0.1):
            check()
            try:
                self._line.connect(deadline.at_most(2.0))
            except DeadlineError:
                continue
            return
        check()
        raise DeadlineError(
            f"The guest did not answer on its serial line {self._line.path} within {deadline.seconds:g} s.",
            remedy="The console log and the screenshot show how far the guest got.",
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

    def start(self, argv: Sequence[str], deadline: Deadline) -> SerialProcess:
        """Starts a program with open stdin. `argv[0]` is found by the guest as CreateProcess finds it."""
        if not argv or not argv[0]:
            raise ConfigurationError("The guest command is empty.", remedy="Name a program.")
        answer = call(self._line, START, deadline, argv=list(argv))
        number = answer.get("process")
        if type(number) is not int or not 0 <= number < 1 << 32:
            raise TransportError(
                f"The guest started {argv[0]!r} as process {str(number)[:40]!r}, which is no number."
            )
        return SerialProcess(self._line, number, argv[0])

    def attach(self, number: int, name: str) -> SerialProcess:
        """A command that runs already, e.g. the interpreter that a saved guest holds."""
        return SerialProcess(self._line, number, name)

    def close(self) -> None:
        """Drops the connection; never raises."""
        self._line.close()
