"""Run folders: `$WINVM_HOME/runs/<run-id>/`, one per process that runs machines, held by a lock for its life.

A process can open only one embedded libvirt root for as long as it lives (see `connection.py`), so the root
belongs to the run folder, every machine of the process is a sub-folder of it, and a later run folder of the
same process gets the same path again:

    runs/<run-id>/
        lock        flock(2) held by the owner; free = the owner is gone
        kept        present when the machines are to outlive their process (`winvm up`)
        daemon.json present when a libvirt daemon runs the machines (see `daemon.py`)
        libvirt/    root of qemu:///embed
        <machine>/  overlay, channel files, machine.json
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError, MachineError, WinvmError
from harness.host import locks
from harness.host.interrupts import at_last, deferred
from harness.host.memory_group import MemoryGroup, memory_group
from harness.host.private import private_folder
from harness.machine.bindings import libvirt
from harness.machine.connection import Connection, translated, within
from harness.machine.daemon import QEMU_CONF, Claim
from harness.machine.processes import adopt_qemus, end_process, qemu_processes
from harness.machine.remote.host import RemoteHost
from harness.machine.remote.ssh import Target
from harness.machine.removal import LOCK, remove_tree
from harness.machine.watchdog import Watchdog

KEPT, ROOT = "kept", "libvirt"
HALF_MADE = ".new-"
END_SECONDS = 20.0
"""Seconds for libvirt to end the machines of a run."""


class RunFolder:
    """A run folder whose lock this process holds. Leaving the context removes it unless `keep` was called.

    Make one with `create` or `attach`; both raise `HostError` when this process has another one open.
    """

    _process_path: ClassVar[Path | None] = None
    _process_open: ClassVar[bool] = False

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.claim = Claim.of(path)
        self.remote: RemoteHost | None = None
        self.memory: MemoryGroup | None = None
        """What bounds the memory of the folder's machines; None where the host allows no cgroup."""
        self._lock = lock
        self._connection: Connection | None = None
        self._open = True
        self._take_back = at_last(self._kill_unless_kept)
        # A signal may arrive after a folder is made and before its owner has entered a context.
        atexit.register(self._close_at_exit)
        self._watchdog: Watchdog | None = None

    @classmethod
    def create(cls, runs: Path, uri: str = "") -> Self:
        """Makes and locks a new folder under `runs`; its name has a random part.

        Args:
            uri: of a libvirt daemon; by default the embedded driver serves the folder's machines.

        Raises:
            ConfigurationError: `uri` names another host by a transport other than SSH.
            HostError: it cannot be made.
        """
        with deferred():
            return cls._made(runs.resolve(), uri)

    @classmethod
    def _made(cls, runs: Path, uri: str) -> Self:
        cls._claim()
        Target.of(uri)
        path = cls._process_path or runs / f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        if path.parent != runs:
            raise HostError(
                f"This process has used run folder {path}; it cannot make one in {runs} as well.",
                remedy="Use one WINVM_HOME in a process.",
            )
        # The folder gets its name once it is locked, so that a search for leftovers never finds it unlocked.
        half = path.with_name(HALF_MADE + path.name)
        try:
            private_folder(runs.parent)
            private_folder(runs)
            half.mkdir(mode=0o700)
            lock = open_lock(half)
            locks.take(lock)
            if uri:
                Claim(uri=uri).save(half)
            half.rename(path)
        except OSError as error:
            raise HostError(
                f"Run folder {path} cannot be made: {error.strerror}.",
                remedy="WINVM_HOME must name a writable folder.",
            ) from error
        return cls._opened(path, lock)

    @classmethod
    def attach(cls, path: Path, deadline: Deadline) -> Self:
        """Takes the lock of a kept folder; waits until the deadline for a process that holds it.

        Raises:
            MachineError: there is no such folder.
            DeadlineError: another process keeps holding it.
        """
        cls._claim()
        path = path.resolve()
        if cls._process_path not in (None, path):
            raise HostError(
                f"This process has used run folder {cls._process_path}; it cannot use {path} as well."
            )
        try:
            lock = open_lock(path, create=False)
        except OSError as error:
            raise MachineError(
                f"There is no run {path.name}.", remedy="Start a machine with winvm up."
            ) from error
        if not locks.take_by(lock, deadline):
            os.close(lock)
            raise DeadlineError(
                f"Run {path.name} is in use by another process.", remedy="Wait for it, or end it."
            )
        return cls._opened(path, lock)

    @classmethod
    def _claim(cls) -> None:
        if RunFolder._process_open:
            raise HostError(f"This process has run folder {cls._process_path} open; it can have only one.")

    @classmethod
    def _opened(cls, path: Path, lock: int) -> Self:
        RunFolder._process_path, RunFolder._process_open = path, True
        return cls(path, lock)

    @property
    def id(self) -> str:
        """The run's id: the folder's name."""
        return self.path.name

    @property
    def root(self) -> Path:
        """libvirt's root."""
        return self.path / ROOT

    @property
    def connection(self) -> Connection:
        """The libvirt connection of this folder, opened at the first use.

        Raises:
            ConfigurationError: the daemon's URI names another host by a transport other than SSH.
            HostError: libvirt refuses, or a daemon or its host is not set up for runs.
            DeadlineError: another host does not answer.
        """
        if self._watchdog is None and not (self.claim and Target.of(self.claim.uri)):
            if not self.claim:
                self.memory = memory_group(self.path)
            self._watchdog = Watchdog(self.path, KEPT, self.memory)
        if self._connection is None and self.claim:
            self._connection = self._connected(self.claim.uri)
        elif self._connection is None:
            adopt_qemus(self.root)
            if self._cached.is_dir():  # probing QEMU anew takes 4 to 8 s; libvirt checks itself what is stale
                try:
                    shutil.copytree(self._cached, self.root / "cache", dirs_exist_ok=True)
                except OSError:  # another run replaces it just now (shutil.Error is an OSError)
                    shutil.rmtree(self.root / "cache", ignore_errors=True)
            # A second root of one process is the first one's path again, where libvirt expects its folders.
            for name in ("lib/qemu/save", "run/qemu", "log/qemu"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            self._connection = Connection.embedded(self.root)
            self._connection.versions()
        return self._connection

    @property
    def _cached(self) -> Path:
        """libvirt's probes of QEMU, for every run of this home."""
        return self.path.parent.parent / "libvirt-cache"

    def _connected(self, uri: str) -> Connection:
        if target := Target.of(uri):
            self.remote = RemoteHost(target, self.path)
            self.remote.require_shared(self.path.parent.parent / "images")
        connection = Connection(uri)
        connection.require_usable(self.remote.qemu_conf() if self.remote else _text(QEMU_CONF))
        return connection

    @property
    def kept(self) -> bool:
        """Whether the folder outlives its process."""
        return (self.path / KEPT).exists()

    def keep(self) -> None:
        """Leaves machines running when the process ends; `attach` finds them again."""
        (self.path / KEPT).touch()

    def own(self) -> None:
        """Undoes `keep`: machines end with this process again, even if it is killed."""
        (self.path / KEPT).unlink(missing_ok=True)

    def remove(self) -> None:
        """Ends every QEMU of this folder, kept or not, and removes it; safe to repeat.

        Raises:
            HostError: it cannot be removed.
            MachineError: a QEMU does not end.
        """
        self._kill()
        self.own()
        remove_tree(self.path)

    def close(self) -> None:
        """Removes the folder unless it is kept, and gives the lock back; safe to repeat.

        Raises:
            HostError, MachineError: a daemon does not end the run's domains, or the folder cannot be
                removed; it stays for `remove_leftovers`.
        """
        if self._open:
            with deferred():
                self._end()

    def _end(self) -> None:
        try:
            try:
                if self._connection and not self.kept:
                    self._end_domains(self._connection)
            finally:
                self._disconnect()
            if not self.kept:
                self.remove()
        finally:
            self._take_back()
            atexit.unregister(self._close_at_exit)
            if self._watchdog:
                self._watchdog.close()
            if self.memory and not self.kept:
                self.memory.remove()
            self._open = RunFolder._process_open = False
            os.close(self._lock)

    def _close_at_exit(self) -> None:
        with contextlib.suppress(WinvmError):  # what is left is for `remove_leftovers`
            self.close()

    def _end_domains(self, connection: Connection) -> None:
        if self.claim:
            end_domains(self.claim, connection)
            return
        # Domains end through libvirt: else it notices QEMU's end later, and makes run/qemu again to record
        # it. `remove` ends the QEMUs that libvirt does not end in time.
        deadline = Deadline.after(END_SECONDS)
        with contextlib.suppress(libvirt.libvirtError, DeadlineError):
            within(deadline, f"Ending run {self.id}", lambda: _destroy_all(connection.api), self._kill)

    def _kill_unless_kept(self) -> None:
        if not self.kept:
            self._kill()

    def _kill(self) -> None:
        for pid in qemu_processes(self.path):
            end_process(pid, self.path)

    def _disconnect(self) -> None:
        if self._connection is not None:
            if not self.claim:  # by now libvirt has probed the program that started the machines as well
                keep_cache(self.root / "cache", self._cached)
            self._connection.close()
            self._connection = None
        if self.remote is not None:
            self.remote.close()
            self.remote = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _destroy_all(api: Any) -> None:
    for domain in api.listAllDomains():
        with contextlib.suppress(libvirt.libvirtError):  # it has ended by itself just now
            domain.destroy()


def runs_of(runs: Path) -> list[Path]:
    """Folders of kept runs under `runs` with a living machine, oldest first."""
    if not runs.is_dir():
        return []
    return sorted(path for path in runs.iterdir() if (path / KEPT).exists() and qemu_processes(path))


def end_domains(claim: Claim, connection: Connection) -> list[str]:
    """Destroys a run's domains on its daemon; returns their names.

    Raises:
        MachineError: libvirt refuses.
    """
    ended = []
    with translated(f"Ending what a run left on {claim.uri}"):
        for domain in claim.domains(connection.api):
            domain.destroy()
            ended.append(domain.name())
    return ended


def open_lock(folder: Path, *, create: bool = True) -> int:
    """A descriptor of the folder's lock file; not inherited by child processes."""
    return locks.opened(folder / LOCK, create=create)


def keep_cache(made: Path, cached: Path) -> None:
    """Keeps libvirt's probe of QEMU's capabilities for later roots; another process may do so at once.

    The copy is made in the run folder: a run that is killed meanwhile leaves nothing elsewhere.
    """
    copy, old = made.with_name("cache-copy"), made.with_name("cache-old")
    try:
        if cached.is_dir() and not _newer(made, cached):
            return
        shutil.copytree(made, copy)
        if cached.is_dir():
            cached.rename(old)
        copy.rename(cached)
    except OSError:  # another process was faster; its copy is equivalent
        shutil.rmtree(copy, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _newer(made: Path, cached: Path) -> bool:
    """Whether libvirt wrote an entry that the cached copy does not have in this form."""
    return any(
        not (cached / file.relative_to(made)).exists()
        or (cached / file.relative_to(made)).read_bytes() != file.read_bytes()
        for file in made.rglob("*.xml")
    )
