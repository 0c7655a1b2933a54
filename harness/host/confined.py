"""Runs a program that parses a foreign file (a PDB, an NTFS volume, a registry hive) so that a fault in its
parser gives the file's author nothing.

The program has limits for memory, processor time, the files it writes and its processes; no network; no
capability; started by root it is the user `nobody`. Under bubblewrap it sees /usr, an empty /dev and the
paths that it was given, nothing else; it writes to those that it was given to write, and, if an ordinary
user started it, to a /tmp of 64 MiB. Where bubblewrap does not run (not installed, no namespaces in a
container) `unshare` is tried, then the limits alone; `confinement` says which, as `winvm doctor` does.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HostError
from harness.host import programs
from harness.host.programs import Finished
from harness.host.regular import open_regular

USER = "nobody"
PROBE_S = 5.0
COPY_LIMIT = 2 << 30
"""Largest file that `copied` takes, in bytes; ntkrnlmp.pdb has 12 million."""
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
_SETTINGS = ("ld.so.cache", "alternatives", "perl", "ssl", "resolv.conf", "hosts")


class Confinement(StrEnum):
    """How a program is confined on this host, the strongest first."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "unshare, without a file system of its own"
    LIMITS = "limits only"


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        memory: address space in bytes.
        cpu_s: processor time in seconds; the kernel then kills it.
        file: bytes of each file that it writes.
        processes: processes and threads of its user; of a program that an ordinary user starts, those of its
            own user namespace, on Linux 5.14 and newer.
    """

    memory: int = 2 << 30
    cpu_s: int = 20
    file: int = 64 << 20
    processes: int = 64


DEFAULT = Limits()


def run(
    argv: Sequence[str],
    deadline: Deadline,
    *,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    limits: Limits = DEFAULT,
    stdin: bytes = b"",
    output: int = programs.OUTPUT_LIMIT,
    network: bool = False,
) -> Finished:
    """Runs a program confined to its end, whatever its exit code.

    Args:
        reads, writes: files and folders that the program sees, under the same absolute paths. As root they
            must be readable by `USER`: see `folder`, `copied` and `hand_over`.
        output: bytes kept of each output stream.
        network: the program may use the host's network.

    Returns:
        `code` is the negative signal number for a program that a signal ended, however it was confined.

    Raises:
        MissingProgramError: the program is not installed.
        ProgramDeadlineError: it had not ended by the deadline, and was killed.
    """
    words = command(argv, reads, writes, limits, network=network)
    # The group: bwrap's child, if bwrap is killed before the child has asked to die with it, waits forever.
    done = programs.run(words, deadline, stdin=stdin, limit=output, own_group=True)
    code = 128 - done.code if 128 < done.code <= 128 + signal.SIGRTMAX else done.code
    return Finished(tuple(argv), code, done.stdout, done.stderr)


def start(
    argv: Sequence[str], *, reads: Sequence[Path] = (), limits: Limits = DEFAULT
) -> subprocess.Popen[bytes]:
    """Starts a program confined; its output and errors are pipes. See `run`; `programs.kill` ends it."""
    pipe = subprocess.PIPE
    return programs.start(command(argv, reads, (), limits), stdout=pipe, stderr=pipe, own_group=True)


def command(
    argv: Sequence[str],
    reads: Sequence[Path],
    writes: Sequence[Path],
    limits: Limits,
    *,
    network: bool = False,
) -> list[str]:
    """The command line that confines `argv`.

    Raises:
        MissingProgramError: the program is not installed.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise programs.missing(argv[0])
    kind = confinement()
    limited = [*_limits(limits, kind), program, *argv[1:]]
    words = _confine(kind, limited, Path(program), reads, writes)
    return [word for word in words if not network or word not in ("--net", "--unshare-net")]


@functools.cache
def confinement() -> Confinement:
    """The strongest confinement that works on this host, found by trying; takes some milliseconds once."""
    true = shutil.which("true") or "/bin/true"
    for kind in (Confinement.BUBBLEWRAP, Confinement.NAMESPACES):
        with contextlib.suppress(HostError, programs.ProgramDeadlineError):
            words = _confine(kind, [*_limits(DEFAULT, kind), true], Path(true), (), ())
            if programs.run(words, Deadline.after(PROBE_S)).code == 0:
                return kind
    return Confinement.LIMITS


def describe(code: int, limits: Limits = DEFAULT) -> str:
    """How a confined program ended, for a message: `was ended by SIGSEGV`, `needs more than 20 s of ...`."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"needs more than {limits.cpu_s} s of processor time"
    if code == -signal.SIGXFSZ:
        return f"writes a file of more than {limits.file >> 20} MiB"
    if code == -signal.SIGABRT:
        return f"aborted (SIGABRT), as it does when it needs more than {limits.memory >> 20} MiB of memory"
    if code < 0:
        return f"was ended by {_signal_name(-code)}"
    return f"failed with exit code {code}"


@contextlib.contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A temporary folder whose files a confined program can reach by name; removed at the end."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        reachable(Path(name))
        yield Path(name)


def reachable(folder: Path) -> None:
    """Lets the user of confined programs reach files in a folder by name; nobody can list it."""
    if os.geteuid() == 0:
        folder.chmod(0o711)


def hand_over(path: Path) -> None:
    """Makes a file belong to the user of confined programs, when this process is root."""
    if os.geteuid() == 0:
        user, group = _user()
        os.chown(path, user, group)


def copied(source: Path, target: Path) -> None:
    """Copies a regular file to where a confined program reads it; holes of a sparse file stay holes.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than `COPY_LIMIT` bytes.
    """
    with open_regular(source) as file, target.open("xb") as copy:
        if (size := os.fstat(file.fileno()).st_size) > COPY_LIMIT:
            raise OSError(f"it has {size} bytes; at most {COPY_LIMIT} are read")
        at = 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole is left
                break
            end = min(size, os.lseek(file.fileno(), at, os.SEEK_HOLE))
            os.lseek(copy.fileno(), at, os.SEEK_SET)
            os.lseek(file.fileno(), at, os.SEEK_SET)
            while at < end and (sent := os.sendfile(copy.fileno(), file.fileno(), None, end - at)):
                at += sent
            if at < end:
                break
        copy.truncate(size)
    target.chmod(0o400)
    hand_over(target)


def _limits(limits: Limits, kind: Confinement) -> list[str]:
    # An ordinary user's count holds whatever else that user runs, but in a user namespace of a Linux that
    # counts each namespace by itself.
    counted = os.geteuid() == 0 or (kind is not Confinement.LIMITS and _counts_namespaces())
    return [
        _tool("prlimit"),
        f"--as={limits.memory}",
        f"--cpu={limits.cpu_s}",
        f"--fsize={limits.file}",
        "--core=0",
        "--nofile=256",
        *([f"--nproc={limits.processes}"] if counted else []),
    ]


def _counts_namespaces() -> bool:
    """Whether RLIMIT_NPROC in a user namespace bounds the processes of that namespace alone: Linux 5.14."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 14)


def _confine(
    kind: Confinement, limited: list[str], program: Path, reads: Sequence[Path], writes: Sequence[Path]
) -> list[str]:
    root = os.geteuid() == 0
    if root:
        user, group = _user()
        limited = [
            _tool("setpriv"), f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all", "--bounding-set=-all", *limited,
        ]  # fmt: skip
    if kind is Confinement.LIMITS:
        return limited
    if kind is Confinement.NAMESPACES:
        own = [] if root else ["--user"]
        # No process namespace: its first process ignores signals, those of its limits among them.
        spaces = ["--net", "--ipc", "--uts", "--mount"]
        return [_tool("unshare"), *own, *spaces, "--", *limited]
    words = [_tool("bwrap"), "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--die-with-parent", "--new-session"]
    # Root makes the mounts, then becomes an ordinary user; an ordinary user needs a user namespace for them.
    if root:
        words += ["--cap-drop", "ALL"]
        words += [word for cap in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{cap}")]
    else:
        words += ["--unshare-user", "--cap-drop", "ALL"]
    words += ["--ro-bind", "/usr", "/usr"]
    for place in map(Path, _SYSTEM):
        if place.is_symlink():
            words += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            words += ["--ro-bind", str(place), str(place)]
    words += ["--perms", "0755", "--dir", "/etc"]
    for name in _SETTINGS:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    words += ["--dev", "/dev", "--size", str(DEFAULT.file), "--tmpfs", "/tmp", "--chdir", "/", "--clearenv"]  # noqa: S108 (its own /tmp)
    words += ["--setenv", "PATH", _PATH, "--setenv", "LC_ALL", "C.UTF-8"]
    installed: list[Path] = []
    if not program.resolve().is_relative_to("/usr"):
        installed = [program]
        if program.resolve().parent.name == "bin":
            installed += [lib for lib in (program.resolve().parents[1] / "lib",) if lib.is_dir()]
    for option, paths in (("--ro-bind", [*installed, *reads]), ("--bind", writes)):
        for path in paths:
            there = path.absolute()
            for parent in reversed(there.parents[:-1]):  # those that bwrap makes itself may be 0700
                words += ["--perms", "0755", "--dir", str(parent)]
            words += [option, str(there), str(there)]
    # Both are file systems in memory, of half the host's each, and an ordinary user's program owns them. What
    # is bound below them, the devices among it, stays as it was bound.
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return [*words, "--", *limited]


def _tool(name: str) -> str:
    """One of the system's programs, whatever PATH says."""
    return shutil.which(name, path=_PATH) or name


def _user() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
