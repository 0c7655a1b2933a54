"""A process that owns a tiny machine: libvirt allows one root a process, and tests kill some owners.

`python machine_owner.py HOME IMAGE [RUN|URI]` launches a machine (with the libvirt daemon at URI), or takes
over RUN; then it obeys one command a line on stdin and answers each with a JSON line on stdout.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import WinvmError
from harness.machine.leftovers import remove_leftovers
from harness.machine.machine import LibvirtMachine
from harness.machine.processes import qemu_processes
from harness.machine.protocol import Machine, MemoryDump
from harness.machine.ready import launch
from harness.machine.runfolder import RunFolder
from tests.fakes.tiny_guest import spec


def wait_ready(machine: Machine, deadline: Deadline) -> dict[str, str]:
    """The tiny guest is ready when it has counted a little."""
    while b"boot\n012" not in machine.channels.console.read_bytes():
        deadline.check("The tiny guest")
    return {"said": "boot"}


def answer(folder: RunFolder, machine: LibvirtMachine, facts: dict[str, str]) -> None:
    """One JSON line about the machine as it is now."""
    line = {
        "run": str(folder.path),
        "ports": dict(machine.ports),
        "generation": machine.generation,
        "state": machine.state(),
        "console": str(machine.channels.console),
        "pids": qemu_processes(folder.path),
        "events": [f"{event.state} {event.reason}" for event in machine.events()],
        "facts": facts,
    }
    print(json.dumps(line), flush=True)


def obey(commands: Iterator[str], folder: RunFolder, machine: LibvirtMachine, facts: dict[str, str]) -> None:
    """Runs the commands to the end of stdin."""
    answer(folder, machine, facts)
    for command in map(str.strip, commands):
        # The tiny guest does not listen to ACPI: `stop` waits in vain.
        deadline = Deadline.after(0.5 if command == "stop" else 30)
        if command == "keep":
            folder.keep()
        elif command == "screenshot":
            machine.screenshot(folder.path.parent.parent / "screen.png", deadline)
        elif command in tuple(MemoryDump):
            machine.dump_memory(folder.path.parent.parent / "memory", MemoryDump(command), deadline)
        else:
            getattr(machine, command)(deadline)
        answer(folder, machine, facts)


def main(home: Path, image: Path, run: str) -> None:
    """See the module."""
    uri = run if "://" in run else ""
    if run and not uri:
        with RunFolder.attach(Path(run), Deadline.after(10)) as folder:
            obey(iter(sys.stdin.readline, ""), folder, LibvirtMachine.attach(folder), {})
        return
    remove_leftovers(home / "runs")
    with RunFolder.create(home / "runs", uri) as folder:
        machine, ready = launch(spec(image), folder, wait_ready, Deadline.after(60), Deadline.after(90))
        with machine:
            obey(iter(sys.stdin.readline, ""), folder, machine, dict(ready.facts))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
    except WinvmError as error:
        print(
            json.dumps({"error": type(error).__name__, "message": str(error), "detail": error.detail}),
            flush=True,
        )
        sys.exit(error.exit_code)
