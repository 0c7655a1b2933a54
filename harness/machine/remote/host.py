"""Another host that QEMU runs on: checks the folder that it must share with this host, and reads its files.

QEMU there opens the files that a run makes here: image, saved state, overlay, channel files. So WINVM_HOME
must be one folder at one path on both. `require_shared` tests that before a guest is started: the other host
must see what is written here, and this host must see what a program there writes to a file that it keeps
open.
"""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError
from harness.machine.remote.ssh import Session, Target, first_line

CONNECT_SECONDS = 30.0
SEEN_SECONDS = 1.5
"""Longest delay until a guest's output is visible here; NFS by default takes 3 s or more."""
_POLL_S = 0.05
SHARE_IT = (
    "WINVM_HOME must be one shared folder, at the same path on both hosts, that root there may write to; "
    "docs/nightly.md says how."
)

# Copies the nonce into a file that it goes on holding open, as QEMU does a guest's channels.
_COPY = 'cd -- "$1" && test -d "$2" && exec 3>far && cat near >&3 && echo && cat >/dev/null'
_END_QEMU = """
pid=$(cat "$1") && tr '\\0' '\\n' <"/proc/$pid/cmdline" | grep -qF -- "$2/" && kill -9 "$pid"
"""


class RemoteHost:
    """Another host, over one SSH connection of this run."""

    def __init__(self, target: Target, folder: Path) -> None:
        """`folder` is the run's."""
        self.session = Session(target, folder)
        self._folder = folder

    def require_shared(self, images: Path) -> None:
        """Connects, and checks that both hosts share the run's folder and that `images` exists there.

        Raises:
            HostError: SSH does not connect, or the folders are not the same.
            DeadlineError: the other host does not answer.
        """
        deadline = Deadline.after(CONNECT_SECONDS)
        self.session.open(deadline)
        nonce = secrets.token_hex(16).encode()
        near, far = self._folder / "near", self._folder / "far"
        near.write_bytes(nonce)
        copying = self.session.start(_COPY, str(self._folder), str(images.resolve()))
        try:
            # The line confirms that the nonce is written.
            seen = first_line(copying, deadline) == b"\n" and _holds(far, nonce)
        finally:
            told = _end(copying)
            late = _read(far) == nonce
            near.unlink(missing_ok=True)
            far.unlink(missing_ok=True)
        if seen:
            return
        if late:
            raise HostError(
                f"{self.session.name}'s writes to {self._folder} are seen here only when the file is closed.",
                remedy="Mount it with sync on the host that writes, or actimeo=0 on the one that reads; "
                "docs/nightly.md says how.",
            )
        words = f": {told}" if told else ""
        raise HostError(
            f"{self.session.name} does not share {self._folder.parent.parent} with this host{words}.",
            remedy=SHARE_IT,
        )

    def qemu_conf(self) -> str:
        """/etc/libvirt/qemu.conf there; empty if it cannot be read."""
        return self._read("cat /etc/libvirt/qemu.conf")

    def tail(self, file: Path, limit: int) -> str:
        """At most the last `limit` bytes of a file there; empty if it cannot be read."""
        return self._read('tail -c "$2" -- "$1"', str(file), str(limit))

    def end_qemu(self, pidfile: Path, folder: Path) -> None:
        """SIGKILLs the process of that pidfile if its command line holds `folder`."""
        self._read(_END_QEMU, str(pidfile), str(folder))

    def close(self) -> None:
        """Ends the connection and all that goes over it."""
        self.session.close()

    def _read(self, script: str, *arguments: str) -> str:
        try:
            done = self.session.run(script, *arguments, deadline=Deadline.after(CONNECT_SECONDS))
        except (HostError, DeadlineError):
            return ""
        return done.stdout.decode("utf-8", "replace")


def _holds(file: Path, content: bytes) -> bool:
    """Whether the file has that content, or soon gets it."""
    return any(_read(file) == content for _ in Deadline.after(SEEN_SECONDS).tries(every=_POLL_S))


def _end(writer: subprocess.Popen[bytes]) -> str:
    """Lets the writer close its file; returns what it printed to stderr."""
    try:
        _, said = writer.communicate(timeout=CONNECT_SECONDS)
    except subprocess.TimeoutExpired:
        writer.kill()
        _, said = writer.communicate()
    return " ".join(said.decode("utf-8", "replace").split())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
