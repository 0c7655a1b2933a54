"""KDDEBUGGER_DATA64 (`KDBG`): addresses of the kernel's variables for debuggers (wdbgexts.h)."""

from __future__ import annotations

import struct
from typing import Any

from harness.dumps.dumpfile import DumpFile
from harness.dumps.summary import VirtualMemory

_SIZE = 0x380
_TAG = b"KDBG"
_PRCB_SIZE = 0x10000


def debugger_data(memory: VirtualMemory, address: int) -> bytes:
    """The block at `address`, zero-padded to the size read here; empty when it is absent or encoded."""
    data = memory.read(address, _SIZE) if address else b""
    if data[0x10:0x14] != _TAG:
        return b""
    (size,) = struct.unpack_from("<I", data.ljust(0x18, b"\0"), 0x14)
    return data[:size].ljust(_SIZE, b"\0")  # the block grows from release to release


def system_details(block: bytes, memory: VirtualMemory) -> dict[str, Any]:
    """Facts of the kernel's build."""
    if not block:
        return {}
    lab = memory.read(struct.unpack_from("<Q", block, 0x208)[0], 128).partition(b"\0")[0]
    text = "".join(character for character in lab.decode("ascii", "replace") if character.isprintable())
    return {"build_lab": text or None, "kernel_base": struct.unpack_from("<Q", block, 0x18)[0]}


def processor_details(block: bytes, file: DumpFile, prcb_at: int) -> dict[str, Any]:
    """Facts of the processor that crashed; `prcb_at` is the file offset of its KPRCB."""
    prcb = file.read(prcb_at, _PRCB_SIZE) if prcb_at else b""
    if not block or not prcb:
        return {}
    thread_at, mhz_at, vendor_at, number_at = (
        struct.unpack_from("<H", block, offset)[0] for offset in (0x2B4, 0x2B6, 0x2BA, 0x2BE)
    )

    def number(at: int, size: int) -> int | None:
        data = prcb[at : at + size]
        return int.from_bytes(data, "little") if at and len(data) == size else None

    vendor = (
        prcb[vendor_at : vendor_at + 13].partition(b"\0")[0].decode("ascii", "replace") if vendor_at else ""
    )
    return {
        "processor": number(number_at, 2),
        "mhz": number(mhz_at, 2),
        "vendor": "".join(character for character in vendor if character.isprintable()) or None,
        "thread": number(thread_at, 8),
    }
