"""SSH to another libvirt host, as its URI says: `qemu+ssh://user@host:port/system?keyfile=PATH`.

libvirt runs OpenSSH's client for such a URI, and the bench runs the same client in the same way. Once
`virsh -c URI list` works, both are configured: aliases and jump hosts of `~/.ssh/config`, keys and agent,
known hosts. One connection of a run carries all its commands and forwards (ControlMaster).
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError, HostError
from harness.host import programs
from harness.host.fileend import last_text
from harness.host.programs import Run

SOCKET, LOG = "ssh", "ssh.log"
SOCKET_PATH_LIMIT = 107 - 17
"""Bytes: OpenSSH makes its socket under a name that is 17 longer, then renames it."""
FAILED = 255
"""OpenSSH's exit code for its own failures; others are the command's."""
COMMAND_SECONDS = 20.0
ALIVE = ("ServerAliveInterval=10", "ServerAliveCountMax=3", "ConnectTimeout=20")
TRY_IT = "Set up keys and known_hosts so that `virsh -c URI list` never prompts the user that runs winvm."


@dataclass(frozen=True)
class Target:
    """The SSH destination of a URI; for a field that is empty or 0, OpenSSH's own setting applies.

    command: the client, from the URI's `command`; libvirt takes it as a path.
    verify: False for `no_verify=1`: the host's key is not checked.
    """

    host: str
    user: str = ""
    port: int = 0
    keyfile: str = ""
    command: str = "ssh"
    verify: bool = True

    @classmethod
    def of(cls, uri: str) -> Self | None:
        """The destination of `uri`; None for a daemon of this machine.

        Raises:
            ConfigurationError: it is no URI, or names another machine by a transport other than SSH.
        """
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname or "", parts.port or 0
        except ValueError as error:
            raise ConfigurationError(
                f"{uri!r} is no URI: {error}.", remedy="A libvirt host is qemu+ssh://user@host/system."
            ) from error
        if not host and not parts.scheme.endswith("+ssh"):
            return None
        if not host or parts.scheme != "qemu+ssh":
            raise ConfigurationError(
                f"{uri} does not lead to another host's QEMU over OpenSSH; a guest's ports need that.",
                remedy="Use qemu+ssh://user@host/system, or qemu:///system for this machine's daemon.",
            )
        options = dict(parse_qsl(parts.query))
        return cls(
            host=host,
            user=parts.username or "",
            port=port,
            keyfile=options.get("keyfile", ""),
            command=options.get("command", "ssh"),
            verify=options.get("no_verify", "0") in ("", "0"),
        )

    def argv(self, *options: str, remote: str = "") -> list[str]:
        """The client's command line. The client never prompts: a nightly run has no user to answer."""
        argv = [self.command, "-T", "-e", "none", "-o", "BatchMode=yes"]
        argv += [word for option in ALIVE for word in ("-o", option)]
        argv += ["-p", str(self.port)] if self.port else []
        argv += ["-l", self.user] if self.user else []
        argv += ["-i", self.keyfile] if self.keyfile else []
        argv += [] if self.verify else ["-o", "StrictHostKeyChecking=no"]
        return [*argv, *options, "--", self.host, *([remote] if remote else [])]


def unasked(uri: str) -> str:
    """An SSH URI with `no_tty=1`, so that libvirt's SSH does not prompt either; any other URI unchanged."""
    if Target.of(uri) is None or "no_tty=" in urlsplit(uri).query:
        return uri
    return f"{uri}{'&' if urlsplit(uri).query else '?'}no_tty=1"


def runner(target: Target) -> Run:
    """Runs programs on the host, each over a connection of its own.

    Raises:
        HostError: SSH does not connect.
    """

    def run(argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
        try:
            done = programs.run(target.argv(remote=shlex.join(argv)), Deadline.after(seconds), merged=True)
        except DeadlineError:
            return None, ""
        except programs.MissingProgramError as error:
            raise _no_client(target, error) from error
        if done.code == FAILED:
            raise _unreachable(target, done.text)
        return done.code, done.text

    return run


class Session:
    """One SSH connection of a run, with its commands and forwards; call `open` again after it was lost."""

    def __init__(self, target: Target, folder: Path) -> None:
        """`folder` takes its socket and log.

        Raises:
            HostError: its path is too long for a socket.
        """
        self.target = target
        self._socket, self._log = folder / SOCKET, folder / LOG
        if len(os.fsencode(self._socket)) > SOCKET_PATH_LIMIT:
            raise HostError(
                f"{self._socket} is too long a path for SSH's socket ({SOCKET_PATH_LIMIT} bytes).",
                remedy="Set WINVM_HOME to a shorter path.",
            )
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The host's name in messages."""
        return self.target.host

    def open(self, deadline: Deadline) -> bool:
        """Connects if there is no living connection; True if a new one was made, which has no forwards.

        Raises:
            HostError: SSH does not connect.
            DeadlineError: it takes too long.
        """
        if self._master is not None and self._master.poll() is None:
            return False
        self.close()
        # The remote `cat` and the connection end when this process ends, even if it is killed.
        argv = self.target.argv("-M", "-S", str(self._socket), remote="echo ready; exec cat >/dev/null")
        with self._log.open("ab") as log:
            try:
                self._master = programs.start(
                    argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, own_session=True
                )
            except programs.MissingProgramError as error:
                raise _no_client(self.target, error) from error
        if first_line(self._master, deadline) != b"ready\n":
            expired = deadline.expired
            self.close()
            if expired:
                raise DeadlineError(f"SSH to {self.name} did not connect within {deadline.seconds:g} s.")
            raise _unreachable(self.target, last_text(self._log, 2000))
        return True

    def run(self, script: str, *arguments: str, deadline: Deadline, stdin: bytes = b"") -> programs.Finished:
        """Runs a POSIX shell script there, with its positional parameters.

        Raises:
            HostError: the connection is lost.
            DeadlineError: the script does not end.
        """
        remote = shlex.join(["sh", "-c", script, "sh", *arguments])
        limited = deadline.at_most(COMMAND_SECONDS)
        try:
            done = programs.run(self._through(remote), limited, stdin=stdin)
        except DeadlineError as error:
            raise DeadlineError(
                f"A command on {self.name} did not end within {limited.seconds:g} s."
            ) from error
        if done.code == FAILED:
            raise _unreachable(self.target, done.said)
        return done

    def start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a shell script there, with pipes to its input and outputs."""
        remote = shlex.join(["sh", "-c", script, "sh", *arguments])
        pipe = subprocess.PIPE
        return programs.start(self._through(remote), stdin=pipe, stdout=pipe, stderr=pipe, own_session=True)

    def forward(self, local: int, far: int, address: str, deadline: Deadline) -> bool:
        """Forwards port `local` here to port `far` there, both on `address`; False if `local` is taken."""
        return self._control("forward", local, far, address, deadline)

    def cancel(self, local: int, far: int, address: str, deadline: Deadline) -> None:
        """Undoes `forward`; connections that are open stay."""
        self._control("cancel", local, far, address, deadline)

    def close(self) -> None:
        """Ends the connection with everything on it; safe to repeat."""
        if self._master is None:
            return
        self._master.kill()
        self._master.wait()
        for pipe in (self._master.stdin, self._master.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._master = None
        self._socket.unlink(missing_ok=True)

    def _through(self, remote: str) -> list[str]:
        # ControlMaster=no: a lost connection must be reported, not replaced by a new one.
        return self.target.argv("-S", str(self._socket), "-o", "ControlMaster=no", remote=remote)

    def _control(self, what: str, local: int, far: int, address: str, deadline: Deadline) -> bool:
        forward = f"{address}:{local}:{address}:{far}"
        argv = self.target.argv("-S", str(self._socket), "-O", what, "-L", forward)
        try:
            done = programs.run(argv, deadline.at_most(COMMAND_SECONDS))
        except DeadlineError as error:
            raise DeadlineError(f"SSH to {self.name} did not {what} port {local} in time.") from error
        return done.code == 0


def first_line(process: subprocess.Popen[bytes], deadline: Deadline) -> bytes:
    """The first line that a process prints; empty if it ends or prints nothing by the deadline."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], deadline.remaining())[0]:
        return b""
    return process.stdout.readline()


def _no_client(target: Target, error: HostError) -> HostError:
    return HostError(
        f"SSH's client {target.command} cannot be run: {error.message}", remedy="Install openssh-client."
    )


def _unreachable(target: Target, said: str) -> HostError:
    words = " ".join(said.split()).rstrip(".") or "no reason given"
    return HostError(f"SSH does not reach {target.host}: {words}.", remedy=TRY_IT)
