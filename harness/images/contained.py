"""Runs the tools of an image build so that no process and no mount outlives the build.

Each tool gets its own process and mount namespace (`unshare`). Whatever ends it - success, failure, Ctrl-C, a
SIGKILL of this process - the kernel then ends every process that it started (wineserver among them) and drops
every mount that it made. No clean-up code has to run for that.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.deadline import Deadline
from harness.errors import HostError, ImageError
from harness.host import programs

LOG_TAIL_BYTES = 4000
PROBE_SECONDS = 20.0


class Toolbox(Protocol):
    """What an image build needs of the host."""

    def run(
        self,
        argv: Sequence[str],
        *,
        root: Path | None = None,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Runs a tool to its end; see `ContainedTools.run`."""


class ContainedTools:
    """Runs tools as root in namespaces of their own; their output goes to `log`."""

    def __init__(self, log: Path, deadline: Deadline) -> None:
        self._log = log
        self._deadline = deadline

    def run(
        self,
        argv: Sequence[str],
        *,
        root: Path | None = None,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Runs `argv` to its end.

        Args:
            root: a root file system to run it in; /proc is mounted there for it.
            environment: added to this process's.

        Raises:
            HostError: the tool is not installed.
            ImageError: it failed, or the build's deadline passed; carries the end of its output.
        """
        with self._log.open("ab") as log:
            log.write(f"\n$ {' '.join(argv)}\n".encode())
            log.flush()
            start = log.tell()
            code = self._wait(self._contain(argv, root), stdin, environment or {}, log.fileno())
        if code is None:
            raise ImageError(
                f"{argv[0]} was still running when the image build's {self._deadline.seconds:g} s were over.",
                remedy=f"Run the build again on a less busy machine; its log is {self._log}.",
                detail=_tail(self._log, start),
            )
        if code:
            raise ImageError(
                f"{argv[0]} failed with exit code {code} while the guest image was being built.",
                remedy=f"Correct the error below and run the build again; the whole log is {self._log}.",
                detail=_tail(self._log, start),
            )

    def _contain(self, argv: Sequence[str], root: Path | None) -> list[str]:
        inside = [f"--root={root}"] if root else []
        return [*_namespaces(), *inside, "--", *argv]

    def _wait(self, argv: list[str], stdin: bytes, environment: Mapping[str, str], log: int) -> int | None:
        # Every process that the tool starts inherits `held`: the read returns when the last one has ended.
        alive, held = os.pipe()
        try:
            process = programs.start(
                argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                environment=environment,
                pass_fds=(held,),
                death_signal="KILL",
                own_session=True,
            )
        except HostError:
            os.close(alive)
            raise
        finally:
            os.close(held)
        try:
            process.communicate(stdin, timeout=self._deadline.remaining())
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
            process.wait()
            os.read(alive, 1)
            os.close(alive)
        return process.returncode


def check_host() -> None:
    """Raises `HostError` when this process cannot build images: not root, or namespaces are forbidden."""
    if os.geteuid() != 0:
        raise HostError(
            "Building the guest image needs root: it makes a Debian root file system.",
            remedy="Run: sudo make image",
        )
    probe = [*_namespaces(), "true"]
    if programs.run(probe, Deadline.after(PROBE_SECONDS)).code:
        raise HostError(
            f"This process may not make mount and process namespaces: {' '.join(probe)} failed.",
            remedy="Run on a machine or VM; in a container, add --privileged.",
        )


def _namespaces() -> list[str]:
    propagation = "private" if root_is_mount_point() else "unchanged"
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*unshare, "--propagation", propagation]


def root_is_mount_point(mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether `/` can be made private; inside a plain chroot it is not a mount point, and cannot."""
    lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.split()[4] == "/" for line in lines)


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")
