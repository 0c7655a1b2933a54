"""Runs and starts programs of the Linux host. Owns what is the same for all of them: the error for a missing
program names its Debian package, a time-out has an error of its own, output is bounded, and each call is
logged under `winvm.programs` with its arguments (never with what goes to its stdin).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError
from harness.host import llvm
from harness.host.logger import logger

OUTPUT_LIMIT = 16 << 20
"""Bytes of each output stream that `run` keeps; the program may print more, which is read and dropped."""
DETAIL_LIMIT = 4000
"""Bytes of a program's output that an error carries."""
PACKAGES = {
    "apt-get": "apt",
    "bwrap": "bubblewrap",
    "clang-19": "clang-19",
    "cmake": "cmake",
    "cp": "coreutils",
    "elf2dmp": "qemu-utils",
    "hivexregedit": "libwin-hivex-perl",
    "lld-link-19": "lld-19",
    "llvm-dlltool-19": "llvm-19",
    "llvm-pdbutil": "llvm-19",
    "llvm-pdbutil-19": "llvm-19",
    "llvm-symbolizer": "llvm-19",
    "llvm-symbolizer-19": "llvm-19",
    "mcopy": "mtools",
    "meson": "meson",
    "mformat": "mtools",
    "ntfscat": "ntfs-3g",
    "ntfscp": "ntfs-3g",
    "ntfsfix": "ntfs-3g",
    "ntfsinfo": "ntfs-3g",
    "ntfsls": "ntfs-3g",
    "ntfsrecover": "ntfs-3g",
    "osslsigncode": "osslsigncode",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-storage-daemon": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "umount": "mount",
    "unshare": "util-linux",
    "wimlib-imagex": "wimtools",
    "xorriso": "xorriso",
}
"""The Debian package of each program that the bench runs."""

Run = Callable[[Sequence[str], float], tuple[int | None, str]]
"""Runs a program for at most that many seconds: its exit code (None if it was killed) and output."""

_LOG = logger("programs")
_CHUNK = 64 << 10
_END_S = 5.0


class MissingProgramError(HostError):
    """A program cannot be started: it is not installed, or not executable."""


class ProgramDeadlineError(DeadlineError):
    """A program was still running at the deadline, and was killed.

    Attributes:
        stdout, stderr: what it had printed by then, bytes.
    """

    def __init__(self, message: str, stdout: bytes, stderr: bytes) -> None:
        super().__init__(message, detail=tail(stderr or stdout))
        self.stdout = stdout
        self.stderr = stderr


@dataclass(frozen=True)
class Finished:
    """A program that has ended.

    Attributes:
        code: exit code; the negative signal number for one that a signal ended.
        stdout, stderr: at most `OUTPUT_LIMIT` bytes of each; `stderr` is empty when it was merged.
    """

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Its standard output as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """The end of what it printed, errors first, for an error's detail."""
        return tail(self.stderr or self.stdout)


def run(
    argv: Sequence[str],
    deadline: Deadline,
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    merged: bool = False,
    limit: int = OUTPUT_LIMIT,
    own_group: bool = False,
) -> Finished:
    """Runs a program to its end, whatever its exit code.

    Args:
        environment: added to this process's.
        folder: where it runs; by default, where this process does.
        merged: stderr goes where stdout goes, in order.
        limit: bytes kept of each stream.
        own_group: a process group of its own, which is killed as a whole, also when only children are left.

    Raises:
        MissingProgramError: it cannot be started; the remedy names its package.
        ProgramDeadlineError: it, or a child that holds its output, had not ended by the deadline, and was
            killed. Without `own_group` such a child is left alone.
    """
    began = time.monotonic()
    process = start(
        argv,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        environment=environment,
        folder=folder,
        own_group=own_group,
    )
    with process:
        readers = [_Reader(pipe, limit) for pipe in (process.stdout, process.stderr) if pipe]
        try:
            if process.stdin:
                _Writer(process.stdin, stdin)
            ended = _wait(process, readers, deadline)
        except BaseException:
            kill(process)
            raise
        if not ended:
            kill(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            # A child of the program may hold the pipes; nothing more is waited for.
            for reader in readers:
                reader.join(0.1)
        stdout, stderr = bytes(readers[0].kept), b"" if merged else bytes(readers[1].kept)
        seconds = time.monotonic() - began
        if not ended:
            _LOG.debug("%s: killed after %.2f s", _name(argv), seconds)
            raise ProgramDeadlineError(
                f"{_name(argv)} did not end within {deadline.seconds:g} s.", stdout, stderr
            )
    code = process.returncode
    _LOG.debug("%s: exit code %d after %.2f s", _name(argv), code, seconds)
    if code:
        _LOG.debug("%s: %s", _name(argv), tail(stderr or stdout))
    return Finished(tuple(argv), code, stdout, stderr)


def start(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pass_fds: Sequence[int] = (),
    death_signal: str = "",
    own_group: bool = False,
    own_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts a program and returns at once.

    Args:
        environment: added to this process's.
        death_signal: name of the signal that the kernel sends it when the thread that called this ends, e.g.
            `KILL` (prctl(2), PR_SET_PDEATHSIG); empty for none.
        own_group: a process group of its own: a Ctrl-C of the terminal does not reach it.
        own_session: a session of its own, which has no terminal, and so a group as well.

    Raises:
        MissingProgramError: it cannot be started; the remedy names its package.
    """
    argv = [llvm.found(argv[0]), *argv[1:]]
    words = [*_until_the_owner_ends(death_signal), *argv] if death_signal else argv
    _LOG.debug("start %s", shlex.join(words))
    try:
        return subprocess.Popen(
            words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **environment} if environment else None,
            cwd=folder,
            pass_fds=tuple(pass_fds),
            start_new_session=own_session,
            process_group=0 if own_group else None,
        )
    except OSError as error:
        _LOG.debug("%s cannot be started: %s", words[0], error.strerror)
        raise missing(words[0], error) from error


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a program, and the rest of its process group if the program leads one.

    The group is killed even if the program itself has ended, unless it was waited for: only until then is
    its number, which is also the group's, kept from being given to another process.
    """
    if process.returncode is None:  # poll() would wait for it
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()


def _until_the_owner_ends(signal_name: str) -> list[str]:
    """What stands before a command whose process is to get that signal when this process ends.

    The kernel sends nothing for an owner that ended before the request was made: the shell looks for that.
    """
    look = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
    return ["setpriv", "--pdeathsig", signal_name, "/bin/sh", "-c", look, str(os.getpid())]


def missing(program: str, error: OSError | None = None) -> MissingProgramError:
    """The error for a program that cannot be started."""
    name = Path(program).name
    package = PACKAGES.get(name)
    remedy = f"Install it: apt-get install {package}" if package else "Run: winvm host install"
    if error is None or isinstance(error, FileNotFoundError):
        return MissingProgramError(f"{name} is not installed.", remedy=remedy)
    return MissingProgramError(f"{program} cannot be run: {error.strerror}.", remedy=remedy)


def tail(output: bytes, limit: int = DETAIL_LIMIT) -> str:
    """The end of a program's output as text."""
    return output[-limit:].decode("utf-8", "backslashreplace").strip()


class _Reader(threading.Thread):
    """Reads a pipe to its end and keeps the first `limit` bytes."""

    def __init__(self, pipe: IO[bytes], limit: int) -> None:
        super().__init__(name="program output", daemon=True)
        self.kept = bytearray()
        self._descriptor = os.dup(pipe.fileno())  # the pipe may be closed while this still reads
        self._limit = limit
        self.start()

    def run(self) -> None:
        try:
            while chunk := os.read(self._descriptor, _CHUNK):
                self.kept += chunk[: self._limit - len(self.kept)]
        finally:
            os.close(self._descriptor)


class _Writer(threading.Thread):
    """Writes all of `data` to a pipe and closes it; takes the pipe over.

    Its descriptor is its own: closing a buffered pipe waits for a write that is under way, and a child that
    holds the other end without reading delays that write for as long as it likes.
    """

    def __init__(self, pipe: IO[bytes], data: bytes) -> None:
        super().__init__(name="program input", daemon=True)
        self._descriptor = os.dup(pipe.fileno())
        self._data = memoryview(data)
        pipe.close()
        self.start()

    def run(self) -> None:
        try:
            # A program that ends without reading its input is no error here; its exit code counts.
            with contextlib.suppress(OSError):
                while self._data:
                    self._data = self._data[os.write(self._descriptor, self._data) :]
        finally:
            os.close(self._descriptor)


def _wait(process: subprocess.Popen[bytes], readers: Sequence[_Reader], deadline: Deadline) -> bool:
    """Whether everything that holds the program's pipes, and the program, have ended by the deadline.

    The program is waited for last: see `kill`.
    """
    for reader in readers:
        reader.join(max(0.01, deadline.remaining()))
    if any(reader.is_alive() for reader in readers):
        return False
    try:
        process.wait(max(0.01, deadline.remaining()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _name(argv: Sequence[str]) -> str:
    return Path(argv[0]).name
