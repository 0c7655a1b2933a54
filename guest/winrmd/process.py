"""One program with its three pipes: bounded buffers, back-pressure, exit code, descendants.

Four threads serve a program: one for each pipe and one that waits for its exit. A Receive is answered as soon
as there is output, and nothing polls. What a thread waits for has a condition variable of its own: under Wine
in an emulated machine, a thread that wakes in vain costs as much time as one that does the work. All times
are monotonic, because the wall clock jumps when a saved machine is restored.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol

from winrmd.commandline import CommandLine

if sys.platform == "win32":
    from winrmd.console import set_codepage
    from winrmd.job import CREATE_SUSPENDED, Job, resume

BUFFER_BYTES = 1024 * 1024
READ_BYTES = 64 * 1024
# A descendant may hold the pipes open after the program has ended. Its output is taken for this long.
LINGER_S = 1.0

KILLED_S = 5.0  # for a killed program to be gone

EXIT_TERMINATED = 1
EXIT_REFUSED_INPUT = 1
EXIT_CONTROL_C = 0xC000013A  # STATUS_CONTROL_C_EXIT: exit code of a program that Ctrl+C ended


@dataclass(frozen=True)
class Output:
    """New bytes of each stream, the streams that have ended, and the exit code once all output is taken."""

    data: dict[str, bytes]
    ended: frozenset[str]
    exit_code: int | None


@dataclass
class _Stream:
    buffer: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Process:
    """A started program.

    Args:
        command: what to start.
        environment: the program's whole environment.
        directory: working directory, None for this process's own.
        codepage: code page of the program's console, None for the system's OEM code page.

    Raises:
        OSError: the program cannot be started.
        ValueError: the system refuses the environment or the command line.
    """

    def __init__(
        self,
        command: CommandLine,
        environment: Mapping[str, str],
        directory: str | None,
        codepage: int | None = None,
    ) -> None:
        lock = threading.Lock()
        self._input_room, self._input_given = threading.Condition(lock), threading.Condition(lock)
        self._output_room, self._output_given = threading.Condition(lock), threading.Condition(lock)
        self._lock = lock
        self._streams = {"stdout": _Stream(), "stderr": _Stream()}
        self._input = bytearray()
        self._input_ended = False
        self._exit_code: int | None = None
        self._exited_at = 0.0
        self._closed = False
        self._receivers = 0
        self._reads_lines, self._letters = command.reads_lines, command.letters
        self._start(command.words, environment, directory, codepage)
        for target in (self._feed, self._wait):
            threading.Thread(target=target, daemon=True).start()
        for name in self._streams:
            threading.Thread(target=self._drain, args=(name,), daemon=True).start()

    @property
    def finished(self) -> bool:
        """Whether the program has ended; some of its output may not be taken yet."""
        return self._exit_code is not None

    def collect(
        self, names: Sequence[str], limit: int, timeout_s: float, abandoned: Callable[[], bool]
    ) -> Output | None:
        """Waits for output or the end, and takes up to `limit` bytes.

        A newer call replaces an older one, which then returns None. After a restore the client of the older
        call is gone, and the output belongs to the new client.

        Args:
            names: streams to take from.
            limit: most bytes to take.
            timeout_s: how long to wait; afterwards the result is None.
            abandoned: returns whether the client has gone; then nothing is taken.
        """
        deadline = time.monotonic() + timeout_s
        streams = {name: self._streams[name] for name in names}
        with self._lock:
            self._receivers += 1
            me = self._receivers
            self._output_given.notify_all()
            while me == self._receivers:
                now = time.monotonic()
                lingering = self._exited_at + LINGER_S - now
                complete = self._exit_code is not None and (
                    lingering <= 0 or all(stream.ended for stream in self._streams.values())
                )
                if complete or any(stream.buffer for stream in streams.values()):
                    return None if abandoned() else self._take(streams, limit, complete)
                if now >= deadline:
                    return None
                wait_s = deadline - now
                self._output_given.wait(wait_s if self._exit_code is None else min(wait_s, lingering))
            return None

    def send(self, data: bytes, end: bool, timeout_s: float) -> bool:
        """Queues bytes for standard input, all or nothing; `end` closes it after them.

        Input that the program can no longer read is dropped; its exit code says how it ended.

        Returns:
            False when the program did not read enough of the earlier input in time.
        """
        with self._lock:
            fits = self._input_room.wait_for(
                lambda: self._input_ended or not self._input or len(self._input) + len(data) <= BUFFER_BYTES,
                timeout_s,
            )
            if not fits:
                return False
            if not self._input_ended:
                self._input += data
                self._input_ended = end
            self._input_given.notify_all()
            return True

    def terminate(self, exit_code: int = EXIT_TERMINATED) -> None:
        """Ends the program and its descendants; does nothing if they have ended."""
        if sys.platform == "win32":
            self._job.terminate(exit_code)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the program, its descendants and the threads; drops output that was not taken."""
        self.terminate()
        with self._lock:
            self._closed = True
            self._input_ended = True
            for changed in (self._input_room, self._input_given, self._output_room):
                changed.notify_all()
        if sys.platform == "win32":
            self._job.close()

    def _start(
        self,
        words: str | Sequence[str],
        environment: Mapping[str, str],
        directory: str | None,
        codepage: int | None,
    ) -> None:
        # stderr is a pipe too: under Wine the Unix descriptor 2 that programs inherit carries DbgPrint.
        if sys.platform == "win32":
            job = Job()

            def suspended() -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    words,
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=environment,
                    cwd=directory,
                    # A hidden console of its own: without one cmd.exe has no code page.
                    creationflags=CREATE_SUSPENDED | subprocess.CREATE_NO_WINDOW,
                )

            def let_run(program: subprocess.Popen[bytes]) -> None:
                handle = int(program._handle)  # type: ignore[attr-defined]
                job.add(handle)
                if codepage is not None:
                    set_codepage(handle, codepage)
                resume(handle)

            self._job = job
            self._popen = launch(job, suspended, let_run)
        else:
            self._popen = subprocess.Popen(
                words,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )

    def _take(self, streams: Mapping[str, _Stream], limit: int, complete: bool) -> Output:
        data: dict[str, bytes] = {}
        spare = limit
        for position, (name, stream) in enumerate(streams.items()):
            # Each stream gets a share of the limit, so that a flood on one does not delay the other.
            share = spare // (len(streams) - position)
            others = sum(len(other.buffer) for other in list(streams.values())[position + 1 :])
            size = min(len(stream.buffer), max(share, spare - others))
            data[name] = bytes(stream.buffer[:size])
            del stream.buffer[:size]
            spare -= size
        ended = frozenset(name for name, stream in streams.items() if stream.ended and not stream.buffer)
        drained = complete and not any(stream.buffer for stream in streams.values())
        self._output_room.notify_all()
        return Output(data, ended, self._exit_code if drained else None)

    def _drain(self, name: str) -> None:
        stream = self._streams[name]
        pipe = _pipe(self._popen.stdout if name == "stdout" else self._popen.stderr)
        try:
            while chunk := os.read(pipe.fileno(), READ_BYTES):
                with self._lock:
                    if not self._closed:
                        stream.buffer += chunk
                    self._output_given.notify_all()
                    self._output_room.wait_for(lambda: len(stream.buffer) < BUFFER_BYTES or self._closed)
        except OSError:
            pass  # the pipe is broken, which ends the stream as its close does
        finally:
            pipe.close()
            with self._lock:
                stream.ended = True
                self._output_given.notify_all()

    def _feed(self) -> None:
        pipe = _pipe(self._popen.stdin)
        letters = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while chunk := self._next_input():
                for part in chunk.splitlines(keepends=True) if self._reads_lines else [chunk]:
                    try:
                        line = letters.decode(part).encode(self._letters) if self._reads_lines else part
                    except UnicodeEncodeError as error:
                        self._refuse(error)
                        return
                    sent = 0
                    while sent < len(line):
                        sent += os.write(pipe.fileno(), line[sent:])
                    if self._reads_lines:
                        os.fsync(pipe.fileno())  # FlushFileBuffers: returns when the program has read it
        except OSError:
            pass  # the program has closed its end
        finally:
            with self._lock:
                self._input.clear()
                self._input_ended = True
                self._input_room.notify_all()
            pipe.close()

    def _refuse(self, error: UnicodeEncodeError) -> None:
        """Ends an interpreter whose line would reach it with other letters; its stderr says why."""
        # The OEM codec reports the whole line, not the letter.
        letter = next((one for one in error.object if not _fits(one, self._letters)), error.object[0])
        reason = (
            f"winvm: {letter!r} (U+{ord(letter):04X}) is not in the code page in which cmd.exe reads a pipe "
            "here: this line and those after it are not run. Give the command as arguments instead: "
            "winvm exec -- cmd /c ...\n"
        )
        with self._lock:
            self._streams["stderr"].buffer += reason.encode("utf-8", "backslashreplace")
            self._output_given.notify_all()
        self.terminate(EXIT_REFUSED_INPUT)

    def _next_input(self) -> bytes:
        with self._lock:
            self._input_given.wait_for(
                lambda: self._input or self._input_ended or self._exit_code is not None
            )
            chunk = bytes(self._input)
            self._input.clear()
            self._input_room.notify_all()
            return chunk

    def _wait(self) -> None:
        exit_code = self._popen.wait() & 0xFFFFFFFF
        with self._lock:
            self._exit_code = exit_code
            self._exited_at = time.monotonic()
            self._output_given.notify_all()
            self._input_given.notify_all()


class Closable(Protocol):
    """What `launch` needs of a job."""

    def close(self) -> None:
        """Closes it."""


def launch(
    job: Closable,
    make: Callable[[], subprocess.Popen[bytes]],
    let_run: Callable[[subprocess.Popen[bytes]], None],
) -> subprocess.Popen[bytes]:
    """A program that `make` has created and `let_run` has put into its job and resumed.

    If either raises anything, no program stays suspended and no handle of the job stays open.
    """
    program: subprocess.Popen[bytes] | None = None
    try:
        program = make()
        let_run(program)
    except BaseException:
        if program is not None:
            with contextlib.suppress(OSError):
                program.kill()
            for pipe in (program.stdin, program.stdout, program.stderr):
                _pipe(pipe).close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(KILLED_S)
        job.close()
        raise
    return program


def _fits(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "all three standard streams are pipes"
    return pipe
