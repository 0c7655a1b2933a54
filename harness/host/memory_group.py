"""A memory cgroup of a run's own: what its QEMUs take together is bounded, and a kill for it is counted.

cgroup v1: below this process's cgroup. cgroup v2: the kernel lets no cgroup with processes have bounded ones
below it, so it is made below the nearest ancestor that shares out memory; an ancestor's own limit is never
left. Where this process may make none, there is none.

A group in use is never empty: the run's watchdog is in it. So empty ones are of runs that were killed.

Sources: cgroups(7), proc_pid_mountinfo(5), statfs(2); the kernel's admin-guide/cgroup-v1/memory.rst and
admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "winvm-"
PROC = Path("/proc/self")
_YOUNG_SECONDS = 60.0
"""Seconds. The watchdog enters a new group within a second."""
_LEFT_SECONDS = 1.0
"""Seconds for processes that were killed to leave a group."""
_TMPFS, _STATFS_BYTES = 0x01021994, 256
_UNLIMITED = "max"


@dataclass(frozen=True)
class MemoryGroup:
    """One run's memory cgroup, in the folder `path`."""

    path: Path

    @property
    def members(self) -> Path:
        """The file into which a process writes 0 to enter."""
        return self.path / "cgroup.procs"

    def limit(self, size: int) -> None:
        """Bounds the group's memory, file pages of a tmpfs included, to `size` bytes.

        Raises:
            OSError: the host forbids it.
        """
        (self.path / ("memory.max" if self._second else "memory.limit_in_bytes")).write_text(str(size))

    def kills(self) -> int:
        """Processes of the group that the kernel has killed because it was at its limit."""
        return out_of_memory_kills(self.path / ("memory.events" if self._second else "memory.oom_control"))

    def remove(self) -> None:
        """Removes the group once it is empty; never raises."""
        until = time.monotonic() + _LEFT_SECONDS
        while self.path.is_dir():
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            if time.monotonic() > until:
                return
            time.sleep(0.02)

    @property
    def _second(self) -> bool:
        return (self.path / "memory.max").exists()


def out_of_memory_kills(file: Path) -> int:
    """The count `oom_kill` in a file of the kernel's, such as /proc/vmstat; 0 where it has none."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def memory_group(run: Path, proc: Path = PROC) -> MemoryGroup | None:
    """The group of the run in folder `run`, made if it is not there; None where this host allows none.

    There is none for a run on a tmpfs either: its disks would count, and cannot be reclaimed.
    """
    if _in_memory(run):
        return None
    parent = _parent(proc)
    if parent is None:
        return None
    _remove_empty(parent)
    group = MemoryGroup(parent / (PREFIX + run.name))
    try:
        group.path.mkdir(exist_ok=True)
    except OSError:
        return None
    return group


def forget(run: str, proc: Path = PROC) -> None:
    """Removes the group of a run that has ended, if it is found; never raises."""
    if parent := _parent(proc):
        MemoryGroup(parent / (PREFIX + run)).remove()


def _remove_empty(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*/"):
        with contextlib.suppress(OSError):  # in use, or another run was faster
            if time.time() - path.stat().st_mtime > _YOUNG_SECONDS:
                path.rmdir()


def _parent(proc: Path) -> Path | None:
    """The cgroup below which a group may be made; None if there is none that this process may write."""
    own = dict(_own_groups(proc))
    with contextlib.suppress(OSError, ValueError):
        for kind, root, point, options in _mounts(proc):
            if kind == "cgroup" and "memory" in options and "memory" in own:
                return _writable(point / Path(own["memory"]).relative_to(root))
        for kind, root, point, _options in _mounts(proc):
            if kind == "cgroup2" and "" in own:
                return _sharing(point / Path(own[""]).relative_to(root), point)
    return None


def _own_groups(proc: Path) -> Iterator[tuple[str, str]]:
    """Controller -> path of this process's cgroup; the name of v2 is empty."""
    with contextlib.suppress(OSError):
        for line in (proc / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _number, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                yield controller, path


def _mounts(proc: Path) -> Iterator[tuple[str, Path, Path, list[str]]]:
    """File system, the part of it that is mounted, mount point, its own options: of each mount."""
    for line in (proc / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _source, options) = before.split(), after.split(maxsplit=2)
        yield kind, Path(fields[3]), Path(fields[4]), options.split(",")


def _sharing(own: Path, top: Path) -> Path | None:
    here = own
    while "memory" not in (here / "cgroup.subtree_control").read_text(encoding="ascii").split():
        limit = here / "memory.max"  # the topmost has none
        if here == top or (limit.exists() and limit.read_text(encoding="ascii").strip() != _UNLIMITED):
            return None
        here = here.parent
    return _writable(here)


def _writable(path: Path) -> Path | None:
    return path if os.access(path, os.W_OK) else None


def _in_memory(path: Path) -> bool:
    found = ctypes.create_string_buffer(_STATFS_BYTES)  # struct statfs begins with f_type, a long
    failed = ctypes.CDLL(None).statfs(os.fsencode(path), found)
    return not failed and ctypes.c_long.from_buffer(found).value == _TMPFS
