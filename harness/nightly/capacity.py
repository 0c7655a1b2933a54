"""Which host has room for one more guest: memory and cores, counted across the processes of a night.

A guest's share is a file, locked for as long as its process lives. When a process is killed, the kernel drops
the lock, and the share is free again.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError
from harness.host import locks

POLL_S = 0.5


@dataclass(frozen=True)
class Need:
    """What one guest needs of a host: MiB of memory, and cores."""

    memory_mib: int
    cores: int


@dataclass(frozen=True)
class Host:
    """A libvirt host and what guests may use of it; `uri` is empty for the driver in winvm's own process."""

    uri: str
    memory_mib: int
    cores: int

    @property
    def name(self) -> str:
        """The host's name in messages."""
        return self.uri or "this host"

    def holds(self, need: Need, taken: Sequence[Need] = ()) -> bool:
        """Whether a guest fits beside those that hold `taken`."""
        memory = sum(one.memory_mib for one in taken) + need.memory_mib
        return memory <= self.memory_mib and sum(one.cores for one in taken) + need.cores <= self.cores


class Capacity:
    """The hosts of a night and their guests' shares, kept in `folder`, which all its processes use."""

    def __init__(self, folder: Path, hosts: Sequence[Host]) -> None:
        self._folder = folder
        self._hosts = tuple(hosts)
        folder.mkdir(parents=True, exist_ok=True)

    def check(self, need: Need, what: str) -> None:
        """Raises `ConfigurationError` when `what` fits on no host, even an idle one."""
        if any(host.holds(need) for host in self._hosts):
            return
        have = "; ".join(f"{host.name} has {host.memory_mib} MiB, {host.cores} cores" for host in self._hosts)
        raise ConfigurationError(
            f"{what} needs {need.memory_mib} MiB and {need.cores} cores, but {have}.",
            remedy="Name a larger host under [[nightly.hosts]], or another profile in nightly.profiles.",
        )

    def at_once(self, needs: Sequence[Need]) -> int:
        """How many of these guests fit at the same time, when placed in this order."""
        taken: dict[Host, list[Need]] = {host: [] for host in self._hosts}
        for need in needs:
            host = next((host for host in self._hosts if host.holds(need, taken[host])), None)
            if host:
                taken[host].append(need)
        return sum(map(len, taken.values()))

    @contextmanager
    def take(self, need: Need, deadline: Deadline) -> Iterator[Host]:
        """Waits for a host with room and holds a guest's share of it.

        Raises:
            DeadlineError: no host had room before the deadline.
        """
        shares = (self._try(need) for _ in deadline.tries(every=POLL_S))
        share = next(filter(None, shares), None)
        if share is None:
            raise DeadlineError(
                f"No host had room for a guest within {deadline.seconds:g} s.",
                remedy="Leave cells out of [nightly], or name another host under [[nightly.hosts]].",
            )
        host, file, descriptor = share
        try:
            yield host
        finally:
            file.unlink(missing_ok=True)
            os.close(descriptor)

    def wait_until_free(self, deadline: Deadline) -> bool:
        """Waits until no process holds a share; False when the deadline passed first."""
        return any(not self._taken() for _ in deadline.tries(every=POLL_S))

    def _taken(self) -> bool:
        """Whether a share of any host is held."""
        return any(True for number in range(len(self._hosts)) for _ in self._shares(number))

    def _try(self, need: Need) -> tuple[Host, Path, int] | None:
        with locks.hold(self._folder / "lock"):
            for number, host in enumerate(self._hosts):
                if not host.holds(need, list(self._shares(number))):
                    continue
                file = self._folder / f"{number}-{secrets.token_hex(4)}.share"
                descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                locks.take(descriptor)  # no other process knows the file yet
                os.write(descriptor, json.dumps(asdict(need)).encode())
                return host, file, descriptor
        return None

    def _shares(self, number: int) -> Iterator[Need]:
        """The shares held on a host; a share whose lock nobody holds is removed."""
        for file in self._folder.glob(f"{number}-*.share"):
            with suppress(FileNotFoundError), file.open("rb") as share:
                if locks.take(share.fileno()):
                    file.unlink()
                else:
                    yield Need(**json.loads(share.read()))
