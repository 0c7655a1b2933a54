"""A picture of a machine's first screen, through libvirt's stream or by QEMU itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import MachineError
from harness.machine.monitor import write_into

LIMIT = 32 * 2**20
_PNG = b"\x89PNG\r\n\x1a\n"


def shoot(api: Any, domain: Any, file: Path, *, unseen: bool) -> None:
    """Writes the screen of a running domain into a file, as a PNG; see `picture`.

    Args:
        unseen: QEMU may not see the folders in which libvirt has it write pictures.
    """
    if unseen:
        write_into(domain, file, "screendump", "filename", format="png")
    else:
        file.write_bytes(picture(api, domain))


def picture(api: Any, domain: Any) -> bytes:
    """The screen of a running libvirt domain as a PNG.

    Raises:
        MachineError: it is no PNG, or larger than `LIMIT` bytes.
        libvirt.libvirtError: libvirt refuses.
    """
    stream = api.newStream(0)
    domain.screenshot(stream, 0, 0)
    found = bytearray()
    while data := stream.recv(2**18):
        found += data
        if len(found) > LIMIT:
            stream.abort()
            raise MachineError(f"A screenshot of more than {LIMIT} bytes was refused.")
    stream.finish()
    if not found.startswith(_PNG):
        raise MachineError("libvirt's screenshot is not a PNG.", remedy="Use QEMU 10 and libvirt 11.")
    return bytes(found)
