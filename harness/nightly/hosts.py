"""Memory and cores of the hosts in `[[nightly.hosts]]`: as libvirt reports them, limited by winvm.toml."""

from __future__ import annotations

import os

from harness.deadline import Deadline
from harness.nightly.capacity import Host
from harness.project.config import HostSection

ASK_SECONDS = 30.0


def host(section: HostSection) -> Host:
    """A host with the memory and cores that guests may use.

    Raises:
        ConfigurationError: its URI leads to another host, but not over SSH.
        HostError: its libvirt daemon cannot be reached.
        MachineError: the daemon does not report its memory and cores.
        DeadlineError: the daemon does not answer in time.
    """
    memory_mib, cores = _asked(section.uri) if section.uri else _own()
    return Host(section.uri, section.memory_mib or memory_mib, section.cores or cores)


def _own() -> tuple[int, int]:
    """MiB of memory and cores of the machine that winvm runs on."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20, len(os.sched_getaffinity(0))


def _asked(uri: str) -> tuple[int, int]:
    from harness.machine.connection import Connection, translated, within

    connection = Connection(uri, seconds=ASK_SECONDS)
    try:
        with translated(f"Asking {uri} for its memory and cores"):
            deadline = Deadline.after(ASK_SECONDS)
            _model, memory_mib, cores, *_ = within(
                deadline, f"Asking {uri}", connection.api.getInfo, connection.close
            )
            return memory_mib, cores
    finally:
        connection.close()
