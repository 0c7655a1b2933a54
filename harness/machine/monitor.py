"""Sends QMP commands to QEMU through libvirt's monitor, for what libvirt has no API for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import MachineError
from harness.machine.bindings import libvirt_qemu


def ask(domain: Any, command: str, **arguments: object) -> Any:
    """What a QMP command returns (QEMU QMP Reference Manual). Blocks until QEMU has done it.

    Raises:
        MachineError: QEMU refused; its reason is in the message.
        libvirt.libvirtError: the domain is gone.
    """
    question = {"execute": command, "arguments": arguments}
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(question), 0))
    if "error" in answer:
        raise MachineError(f"QEMU refused {command}: {answer['error'].get('desc', answer['error'])}.")
    return answer["return"]


def write_into(
    domain: Any, file: Path, command: str, argument: str, form: str = "{}", **more: object
) -> None:
    """Has QEMU, which may not see the file's folder, write into a file that is opened here.

    Args:
        argument: the command's argument that names the file, as `form` has it.

    Raises:
        OSError: the file cannot be made.
        MachineError, libvirt.libvirtError: see `ask`.
    """
    with file.open("wb") as opened:
        question = json.dumps({"execute": "add-fd"})
        answer = libvirt_qemu.qemuMonitorCommandWithFiles(domain, question, [opened.fileno()], 0)
        said = json.loads(answer[0] if isinstance(answer, tuple | list) else answer)
        number = {"fdset-id": said["return"]["fdset-id"]}
        try:
            ask(domain, command, **{argument: form.format(f"/dev/fdset/{number['fdset-id']}"), **more})
        finally:
            ask(domain, "remove-fd", **number)


def dump_into(domain: Any, file: Path, form: str, *, unseen: bool) -> None:
    """Has QEMU write the guest's memory into a file; libvirt's own core dump needs another package's program.

    Args:
        form: a `DumpGuestMemoryFormat` of QMP.
        unseen: QEMU may not see the file's folder.
    """
    more = {"paging": False, "format": form}
    if unseen:
        write_into(domain, file, "dump-guest-memory", "protocol", "file:{}", **more)
    else:
        ask(domain, "dump-guest-memory", protocol=f"file:{file.resolve()}", **more)
