"""One NTFS volume in a host file: list, copy out, put back, through the ntfs-3g tools, without a mount."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, MachineError
from harness.host import confined, programs
from harness.offline import tool

LISTING_LIMIT = 8 << 20
"""Bytes of a folder's listing that are parsed."""
CHUNK = 1 << 20
_LINE = re.compile(r" *(?P<inode>\d{1,15}) +(?P<size>\d{1,19}) \w{3} [ \d]\d \d\d:\d\d \d{4} (?P<name>.+)")


@dataclass(frozen=True)
class Entry:
    """A file or folder: `size` in bytes, 0 of a folder."""

    name: str
    size: int


class NtfsVolume:
    """Paths are relative to the volume's root, parts separated by `/`; case is ignored, as in Windows.

    Args:
        device: the host file.
        partition: its number on the disk.

    Raises (every operation): `MachineError` for a volume or path that cannot be read, `HostError` when the
    tools are missing, `DeadlineError`.
    """

    def __init__(self, device: Path, partition: int = 1) -> None:
        self._device = device
        self.partition = partition

    def list(self, folder: str, deadline: Deadline) -> tuple[Entry, ...]:
        """What is in a folder."""
        return self._list(self._resolved(folder, deadline), deadline)

    def entry(self, path: str, deadline: Deadline) -> Entry | None:
        """A file by its path; None when there is none."""
        parent, _, name = path.rpartition("/")
        try:
            inside = self._list(self._resolved(parent, deadline), deadline)
        except MachineError:
            return None
        return next((one for one in inside if one.name.casefold() == name.casefold()), None)

    def starts_with(self, path: str, start: bytes, deadline: Deadline) -> bool:
        """Whether a file begins with these bytes."""
        argv = ["ntfscat", "--force", str(self._device), self._resolved(path, deadline)]
        with self._reading(argv) as process:
            assert process.stdout
            return process.stdout.read(len(start)) == start

    def copy_out(self, path: str, target: Path, deadline: Deadline, limit: int) -> int:
        """Copies a file of at most `limit` bytes to the host, runs of zeros as holes; its size in bytes."""
        argv = ["ntfscat", "--force", str(self._device), self._resolved(path, deadline)]
        with target.open("wb") as file, self._reading(argv) as process:
            assert process.stdout and process.stderr
            while chunk := process.stdout.read(CHUNK):
                if file.tell() + len(chunk) > limit:
                    raise MachineError(f"{path} has more than {limit} bytes.")
                if deadline.expired:
                    raise DeadlineError(f"{path} was not copied within {deadline.seconds:g} s.")
                if chunk.strip(b"\0"):
                    file.write(chunk)
                else:
                    file.seek(len(chunk), 1)
            size = file.tell()
            file.truncate(size)
            said = process.stderr.read(programs.DETAIL_LIMIT)
            if code := process.wait():
                raise tool.failed(argv, code, said)
        return size

    def copy_in(self, source: Path, path: str, deadline: Deadline) -> None:
        """Replaces the content of a file that is there.

        Replays the NTFS journal first, if possible: a machine that was powered off leaves one. A failure is
        ignored: ntfsrecover's exit code does not distinguish a failed replay from one that was not needed.
        """
        resolved = self._resolved(path, deadline)
        with contextlib.suppress(MachineError):
            tool.run(["ntfsrecover", str(self._device)], deadline, writes=[self._device])
        argv = ["ntfscp", "--force", "--quiet", str(self._device), str(source), resolved]
        tool.run(argv, deadline, reads=[source], writes=[self._device])

    def _resolved(self, path: str, deadline: Deadline) -> str:
        """The path in the spelling of the volume: the tools compare names exactly."""
        resolved = ""
        for part in filter(None, path.split("/")):
            inside = self._list(resolved or "/", deadline)
            found = next((one.name for one in inside if one.name.casefold() == part.casefold()), None)
            if found is None:
                raise MachineError(f"There is no {part} in {resolved or '/'} of the disk.")
            resolved = f"{resolved}/{found}"
        return resolved or "/"

    def _list(self, folder: str, deadline: Deadline) -> tuple[Entry, ...]:
        argv = ["ntfsls", "--force", "--long", "--inode", "--path", folder, str(self._device)]
        listing = tool.run(argv, deadline, reads=[self._device])[:LISTING_LIMIT].decode("utf-8", "replace")
        lines = (_LINE.fullmatch(line) for line in listing.split("\n"))
        return tuple(
            Entry(line["name"], int(line["size"]))
            for line in lines
            if line and line["name"] not in (".", "..")
        )

    @contextlib.contextmanager
    def _reading(self, argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Starts a tool whose output the caller reads as it arrives; kills it when the block ends."""
        process = confined.start(argv, reads=[self._device], limits=tool.LIMITS)
        with process:
            try:
                yield process
            finally:
                programs.kill(process)
