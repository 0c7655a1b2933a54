"""What the hosts of `[[nightly.hosts]]` have: asked of libvirt, bounded by what winvm.toml grants."""

from __future__ import annotations

import os

from harness.config import HostSection
from harness.deadline import Deadline
from harness.nightly.capacity import Host

ASK_SECONDS = 30.0


def host(section: HostSection) -> Host:
    """A host with what guests may take of it.

    Raises:
        MachineError: its libvirt daemon cannot be reached, or says nothing.
        DeadlineError: it does not answer.
    """
    memory_mib, cores = _asked(section.uri) if section.uri else _own()
    return Host(section.uri, section.memory_mib or memory_mib, section.cores or cores)


def _own() -> tuple[int, int]:
    """MiB of memory and cores of the machine that winvm runs on."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20, len(os.sched_getaffinity(0))


def _asked(uri: str) -> tuple[int, int]:
    import libvirt  # type: ignore[import-untyped]

    from harness.machine.connection import translated, within

    def ask() -> tuple[int, int]:
        connection = libvirt.open(uri)
        try:
            _model, memory_mib, cores, *_ = connection.getInfo()
            return memory_mib, cores
        finally:
            connection.close()

    remedy = "Check nightly.hosts in winvm.toml, and that virsh -c URI list works for this user."
    with translated(f"Asking {uri} for its memory and cores", remedy):
        return within(Deadline.after(ASK_SECONDS), f"Asking {uri}", ask, lambda: None)
