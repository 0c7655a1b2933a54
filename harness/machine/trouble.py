"""Why the host has stopped a machine: a disk that takes no more, a signal that ended or stopped QEMU.

None of this is the guest's doing, and a guest that stands still for one of these reasons looks hung.
"""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

from harness.host import memory_group
from harness.machine.bindings import libvirt
from harness.machine.connection import Connection, translated
from harness.machine.processes import ended_by

_WORDS = {"enospc": "No space left on device"}
"""QEMU's reasons in the BLOCK_IO_ERROR event that libvirt passes on (qapi/block-core.json: `nospace`)."""
VMSTAT = Path("/proc/vmstat")


class DiskErrors:
    """Remembers the write errors for which libvirt paused the domain called `name`."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._api: Any = None
        self._id = -1
        self._found = ""
        self.listen()

    def listen(self) -> None:
        """Forgets what was found; registers with libvirt, again after its daemon was restarted."""
        self._found = ""
        api = self._connection.api
        if api is not self._api:
            with translated("Listening for errors of the guest's disk"):
                self._id = api.domainEventRegisterAny(
                    None, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._on_error, None
                )
            self._api = api

    @property
    def found(self) -> str:
        """The error that paused the machine, with the file; empty while there was none."""
        return self._found

    def close(self) -> None:
        """Stops listening; never raises."""
        with contextlib.suppress(libvirt.libvirtError):
            self._api.domainEventDeregisterAny(self._id)

    def _on_error(
        self, _api: Any, domain: Any, file: str, _device: str, action: int, reason: str, _opaque: None
    ) -> None:
        if domain.name() == self._name and action == libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE:
            self._found = f"{_WORDS.get(reason, reason or 'input/output error')} on {file}"


def paused_by_error(domain: Any, found: str) -> str:
    """Why libvirt paused a machine whose disk failed; empty if that is not why, or it is not paused."""
    state, reason = domain.state()
    if (state, reason) != (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR):
        return ""
    return f"The machine is paused because its disk cannot be written: {found or 'input/output error'}."


def fate(pid: int, killed_before: int, *, at_limit: bool = False) -> str:
    """What a signal has done to a QEMU of this host; empty if it runs, or ended in another way.

    Args:
        killed_before: `out_of_memory_kills` when it was started.
        at_limit: the kernel has killed a process of its memory cgroup since.
    """
    if number := ended_by(pid):
        text = f"QEMU (process {pid}) was ended by {_signal_name(number)}."
        killed = out_of_memory_kills() - killed_before
        if number == signal.SIGKILL and at_limit:
            text += " It had reached its cgroup's limit: the memory of its profile and QEMU's own."
        elif number == signal.SIGKILL and killed > 0:
            text += f" The host's kernel has killed {killed} processes for lack of memory since it started,"
            text += " probably QEMU among them."
        return text
    if _is_stopped(pid):
        return f"QEMU (process {pid}) is stopped by a signal; kill -CONT {pid} lets it go on."
    return ""


def out_of_memory_kills(vmstat: Path = VMSTAT) -> int:
    """Processes that this host's kernel has killed for lack of memory since it booted (`oom_kill`)."""
    return memory_group.out_of_memory_kills(vmstat)


def _is_stopped(pid: int) -> bool:
    """proc(5), stat: the state follows the name in parentheses; T is stopped by a signal."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return stat.rpartition(")")[2].split()[:1] == ["T"]
    return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
