"""A powered-off disk as one host file per partition, through qemu-storage-daemon's FUSE export.

No kernel module, no mount of a file system, no copy: the daemon translates the qcow2 chain. It dies with the
thread that made it (prctl(2), PR_SET_PDEATHSIG), so that a killed run leaves nothing mounted.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError, MachineError
from harness.host import confined, programs
from harness.offline import tool
from harness.offline.ntfs import NtfsVolume
from harness.offline.partitions import HEAD, Partition, partitions

FUSE = Path("/dev/fuse")
POLL_S = 0.01
END_S = 10.0
NTFS = b"NTFS    "


class OfflineDisk:
    """The NTFS volumes of a disk image whose machine is off; a context manager.

    Args:
        image: the qcow2 overlay or image.
        write: number of the one partition to open for writing. Changes go to `image` itself, never to its
            backing file. By default all partitions are opened for reading.

    Raises:
        HostError: a tool or `/dev/fuse` is missing.
        MachineError: the image cannot be read, or is in use.
        DeadlineError: the exports did not appear in time.
    """

    def __init__(self, image: Path, deadline: Deadline, *, write: int | None = None) -> None:
        self._image = image
        self._deadline = deadline
        self._write = write
        self._daemon: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="winvm-offline-")
        try:
            self.volumes = self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the exports after flushing what was written; safe to repeat."""
        daemon, self._daemon = self._daemon, None
        if daemon:
            daemon.terminate()  # flushes, then unmounts its exports
            try:
                daemon.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.communicate()
        self._unmount()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> tuple[NtfsVolume, ...]:
        described = json.loads(
            tool.run(["qemu-img", "info", "--output=json", "-f", "qcow2", str(self._image)], self._deadline)
        )
        first = Path(self._folder.name) / "first"
        copy = ["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=1M", "count=1"]
        tool.run([*copy, f"if={self._image}", f"of={first}"], self._deadline)
        with first.open("rb") as file:
            found = partitions(file.read(HEAD), int(described["virtual-size"]))
        if self._write is not None:
            found = tuple(one for one in found if one.number == self._write)
        if not found:
            return ()
        if not FUSE.exists():
            raise HostError(f"{FUSE} is missing.", remedy="Load the kernel module: modprobe fuse")
        files = self._export(found)
        pairs = zip(files, found, strict=True)
        return tuple(NtfsVolume(file, one.number) for file, one in pairs if _is_ntfs(file))

    def _export(self, found: tuple[Partition, ...]) -> list[Path]:
        """Starts the daemon; returns one file per partition once all of them are there."""
        access, writing = ("on", "off") if self._write is None else ("off", "on")
        image = str(self._image).replace(",", ",,")
        # As root the NTFS tools run as another user, to whom the exports are then given.
        others = "on" if os.geteuid() == 0 else "off"
        confined.reachable(Path(self._folder.name))
        argv = [
            "qemu-storage-daemon",
            "--blockdev", f"file,node-name=file,filename={image},read-only={access}",
            "--blockdev", f"qcow2,node-name=disk,file=file,read-only={access}",
        ]  # fmt: skip
        files = []
        for one in found:
            file = Path(self._folder.name) / f"partition-{one.number}"
            file.touch()
            files.append(file)
            node = f"node-name=p{one.number}"
            where = f"offset={one.offset},size={one.size}"
            argv += ["--blockdev", f"raw,{node},file=disk,{where},read-only={access}"]
            argv += [
                "--export",
                f"fuse,id=e{one.number},{node},mountpoint={file},writable={writing},allow-other={others}",
            ]
        self._daemon = programs.start(argv, stderr=subprocess.PIPE, death_signal="TERM")
        for file, one in zip(files, found, strict=True):
            self._await(file, one.size, self._daemon)
            confined.hand_over(file)
        return files

    def _await(self, file: Path, size: int, daemon: subprocess.Popen[bytes]) -> None:
        for _ in self._deadline.tries(every=POLL_S):
            if _size(file) == size:
                return
            if daemon.poll() is not None:
                said = daemon.stderr.read() if daemon.stderr else b""
                raise MachineError(
                    f"The disk {self._image} cannot be opened while its machine is off.",
                    remedy="End the program that uses the disk; qemu-storage-daemon's message is below.",
                    detail=programs.tail(said),
                )
        raise DeadlineError(f"qemu-storage-daemon did not export {self._image} in time.")

    def _unmount(self) -> None:
        """Unmounts the exports that a killed daemon left mounted."""
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
            if (mounted := line.split(" ")[1]).startswith(f"{self._folder.name}/"):
                with contextlib.suppress(HostError, DeadlineError):
                    programs.run(["umount", "--lazy", mounted], Deadline.after(END_S))


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:  # its daemon has just died
        return None


def _is_ntfs(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(11)[3:11] == NTFS
