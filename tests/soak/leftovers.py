"""Finds everything that runs have left on the host: folders, files, processes, mounts, locks, ports.

A run's processes are known by the bench's home, which they have in their environment or their command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

KNOWN = {"accelerator.json", "downloads", "hosts", "images", "libvirt-cache", "qemu", "runs", "smoke", "up"}
"""What a home holds between runs."""
LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp."""


def left(home: Path, ports: Iterable[int] = ()) -> list[str]:
    """Run folders (with their overlays, domains, libvirt roots), files, processes, mounts, locks, ports.

    Args:
        ports: host ports that runs had; those that are still listened on are left, unless a guest of another
            home has been given them since.
    """
    found = [str(path) for path in home.glob("runs/*")]
    found += [str(path) for path in home.iterdir() if path.name not in KNOWN]
    found += [f"process {pid}: {words!r}" for pid, words in processes(os.fsencode(home))]
    found += [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if f"{home}/" in line]
    found += [f"lock on {path}" for path in _locked(home)]
    found += [f"port {port}" for port in _still_held(ports, os.fsencode(home))]
    return found


def processes(home: bytes) -> Iterator[tuple[int, bytes]]:
    """Process id and command line (the first 80 bytes) of every process that belongs to the home."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if home + b"/" in words or b"WINVM_HOME=" + home in environment:
            yield int(process.name), words[:80]


def _locked(home: Path) -> Iterator[Path]:
    """Files on which somebody holds a lock: /proc/locks names them by device and inode."""
    held = {fields[5] for fields in map(str.split, Path("/proc/locks").read_text().splitlines())}
    for place, folders, files in os.walk(home):  # not into the images, which others share
        for name in folders + files:
            with suppress(FileNotFoundError):  # a run that ends removes it just now
                file = Path(place, name)
                status = file.lstat()
                device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
                if f"{device}:{status.st_ino}" in held:
                    yield file


def _still_held(ports: Iterable[int], home: bytes) -> Iterator[int]:
    """Ports on which something listens that is no guest of another home."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    for port in set(ports):
        for row in rows:
            if row[1].endswith(f":{port:04X}") and row[3] == LISTENING:
                owners = list(_owners(row[9]))
                if not owners or any(home in words or b"/runs/" not in words for words in owners):
                    yield port


def _owners(inode: str) -> Iterator[bytes]:
    """Command lines of the processes that have this socket."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(file) for file in (process / "fd").iterdir()]
            if f"socket:[{inode}]" in links:
                yield (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
