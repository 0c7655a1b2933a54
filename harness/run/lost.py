"""Evidence of a guest lost without a crash: QEMU's log, the console, the agent's journal; and the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.host.fileend import last_bytes
from harness.machine.protocol import Machine, MachineState

LIMIT = 1 << 20
"""Bytes kept of each file: its end."""


def keep_lost(machine: Machine, folder: Path) -> tuple[str, ...]:
    """Copies the logs of a lost machine into `folder`, because its own go away with the next restore.

    Returns:
        A note where they are, and one for each that is missing.
    """
    notes = [f"The logs of the lost guest and its QEMU are in {folder.parent.name}/{folder.name}."]
    sources: Mapping[str, Callable[[], bytes]] = {
        "qemu.log": lambda: machine.qemu_log().encode("utf-8", "backslashreplace"),
        "console.log": lambda: last_bytes(machine.channels.console, LIMIT),
        "journal.jsonl": lambda: last_bytes(machine.channels.journal, LIMIT),
    }
    for name, read in sources.items():
        try:
            (folder / name).write_bytes(read()[-LIMIT:])
        except OSError as error:
            notes.append(f"{name} is missing: {error}")
    return tuple(notes)


def explained(machine: Machine, message: str) -> str:
    """An error's message; if the machine has ended, with the reason that libvirt gives."""
    if machine.state() in (MachineState.RUNNING, MachineState.PAUSED):
        return message
    events = machine.events()
    reason = f" ({events[-1].reason})" if events else ""
    return f"The virtual machine ended by itself{reason}. {message}"
