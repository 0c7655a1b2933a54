"""Sends QMP commands to QEMU through libvirt's monitor, for what libvirt has no API for."""

from __future__ import annotations

import json
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
