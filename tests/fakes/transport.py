"""Guest commands without a guest: a process that prints what a test asks for, and its transport."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence

from harness.deadline import Deadline
from harness.errors import TransportError
from harness.interfaces import CommandResult, OnOutput

Answer = Callable[[Sequence[str]], CommandResult]


class FakeGuestProcess:
    """A guest command whose output, end and failures come from the test, in the order of the test's calls."""

    def __init__(self, on_input: Callable[[bytes], None] = lambda data: None) -> None:
        self.sent = bytearray()
        self.input_ended = False
        self.terminated = False
        self._on_input = on_input
        self._exit_code: int | None = None
        self._output: queue.Queue[tuple[str, bytes] | int | Exception] = queue.Queue()

    def say(self, data: bytes, stream: str = "stdout") -> None:
        """The command prints."""
        self._output.put((stream, data))

    def end(self, exit_code: int) -> None:
        """The command ends."""
        self._output.put(exit_code)

    def fail(self, error: Exception | None = None) -> None:
        """The connection to the command breaks."""
        self._output.put(error or TransportError("The connection to the guest was reset."))

    def send(self, data: bytes, *, end: bool = False) -> None:
        self.sent += data
        self.input_ended = self.input_ended or end
        self._on_input(data)

    def receive(self, deadline: Deadline) -> Iterator[tuple[str, bytes]]:
        while self._exit_code is None:
            try:
                item = self._output.get(timeout=max(0.001, deadline.at_most(1.0).remaining()))
            except queue.Empty:
                if deadline.expired:
                    return
                continue
            if isinstance(item, Exception):
                raise item
            if isinstance(item, int):
                self._exit_code = item
            else:
                yield item

    @property
    def exit_code(self) -> int | None:
        return self._exit_code

    def terminate(self) -> None:
        if not self.terminated:
            self.terminated = True
            self.end(1)


class FakeTransport:
    """Answers commands from a table keyed by program; unknown programs are a `TransportError`."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.answers: dict[str, Answer] = {}
        self.processes: dict[str, FakeGuestProcess] = {}
        self.closed = False

    def answer(self, program: str, exit_code: int = 0, stdout: bytes = b"", stderr: bytes = b"") -> None:
        """`run` of `program` gives this result."""
        self.answers[program] = lambda argv: CommandResult(exit_code, stdout, stderr)

    def run(
        self, argv: Sequence[str], deadline: Deadline, on_output: OnOutput | None = None
    ) -> CommandResult:
        self.commands.append(tuple(argv))
        answer = self.answers.get(argv[0])
        if answer is None:
            raise TransportError(f"The fake guest has no program {argv[0]!r}.")
        result = answer(argv)
        if on_output is None:
            return result
        for stream, data in (("stdout", result.stdout), ("stderr", result.stderr)):
            if data:
                on_output(stream, data)
        return CommandResult(result.exit_code, b"", b"")

    def start(self, argv: Sequence[str], deadline: Deadline) -> FakeGuestProcess:
        self.commands.append(tuple(argv))
        process = self.processes.get(argv[0])
        if process is None:
            raise TransportError(f"The fake guest has no program {argv[0]!r}.")
        return process

    def close(self) -> None:
        self.closed = True
