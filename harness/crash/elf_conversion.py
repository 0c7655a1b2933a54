"""QEMU's ELF dump as a full Windows dump, without symbols and without a network.

The kernel is found from the machine itself: the first processor's CR3 gives its page tables, its interrupt
handlers lie in the kernel's image, and that holds KDDEBUGGER_DATA64 (wdbgexts.h), which names the rest.
A kernel that keeps this block encoded, as Windows does without a debugger, is refused.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from harness.deadline import Deadline
from harness.dumps import cpu
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.elfcore import NAMES, ElfCore, Processor
from harness.dumps.formats.kerneldump import SIGNATURE, SIZE
from harness.dumps.formats.pagetables import PagedMemory
from harness.dumps.formats.physical import PAGE
from harness.errors import DeadlineError, DumpError

FULL = 1
MOST_RUNS = 42
"""As many as the dump's header has room for."""
IMAGE_BYTES = 64 << 20
_VECTORS = 15
_SHARED = 0xFFFF_F780_0000_0000
"""KUSER_SHARED_DATA: InterruptTime at 0x8, SystemTime at 0x14."""
_CHUNK = 256 << 10
_FLAGS = 0x10_000F  # CONTEXT_AMD64 with control, integer, segments and floating point, which stays zero
_REGISTERS_AT = {
    **dict(zip(("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"), range(0x78, 0xB8, 8), strict=True)),
    **{f"r{number}": 0xB8 + 8 * (number - 8) for number in range(8, 16)},
    "rip": 0xF8,
}
_SELECTORS_AT = {"cs": 0x38, "ds": 0x3A, "es": 0x3C, "fs": 0x3E, "gs": 0x40, "ss": 0x42}


def convert(core: Path, target: Path, deadline: Deadline) -> None:
    """Writes the dump; pages of zeros become holes.

    Raises:
        DumpError: the ELF file is damaged, no kernel is found in it, or it recorded no bugcheck.
        DeadlineError: the memory was not copied in time.
    """
    with DumpFile(core) as file:
        elf = ElfCore(file)
        if len(elf.runs) > MOST_RUNS:
            raise DumpError(f"{core} has {len(elf.runs)} runs of memory; a dump has room for {MOST_RUNS}.")
        header = _header(file, elf)
        with target.open("wb") as made:
            made.write(header)
            zeros = bytes(_CHUNK)
            for _, count, offset in elf.runs:
                for at in range(offset, offset + count * PAGE, _CHUNK):
                    if deadline.expired:
                        raise DeadlineError(f"The memory was not copied within {deadline.seconds:g} s.")
                    size = min(_CHUNK, offset + count * PAGE - at)
                    data = file.read(at, size)
                    if data == zeros[: len(data)]:
                        made.seek(len(data), os.SEEK_CUR)
                    else:
                        made.write(data)
            made.truncate(SIZE + elf.pages * PAGE)


def _header(file: DumpFile, elf: ElfCore) -> bytes:
    processor = elf.processors[0]
    memory = PagedMemory(file, elf, processor.page_table)
    kernel = _kernel(memory, processor.interrupts)
    if kernel is None:
        raise DumpError(f"{file.path} shows no NT kernel behind the first processor's interrupt handlers.")
    block = debugger_block(memory, *kernel)
    if block is None:
        raise DumpError(f"{file.path}: the kernel at {kernel[0]:#x} shows no debugger data, or encodes them.")
    data = memory.read(block, 0x210).ljust(0x210, b"\0")
    modules, processes, bugcheck_at = (struct.unpack_from("<Q", data, at)[0] for at in (0x48, 0x50, 0x88))
    bugcheck = struct.unpack("<5Q", memory.read(bugcheck_at, 40).ljust(40, b"\0"))
    if not bugcheck[0]:
        raise DumpError(f"{file.path} has a kernel that recorded no bugcheck.")
    made = bytearray(b"PAGE" * (SIZE // 4))
    made[:8] = SIGNATURE
    struct.pack_into("<I", made, 0x8, 0xF)
    lab = memory.read(struct.unpack_from("<Q", data, 0x208)[0], 16)
    if build := re.match(rb"\d{4,5}", lab):
        struct.pack_into("<I", made, 0xC, int(build[0]))
    struct.pack_into("<Q", made, 0x10, processor.page_table)
    struct.pack_into("<QQ", made, 0x20, modules, processes)
    struct.pack_into("<III", made, 0x30, cpu.X64, len(elf.processors), bugcheck[0] & 0xFFFF_FFFF)
    struct.pack_into("<4Q", made, 0x40, *bugcheck[1:])
    struct.pack_into("<Q", made, 0x80, block)
    struct.pack_into("<IIQ", made, 0x88, len(elf.runs), 0, elf.pages)
    for number, (first, count, _) in enumerate(elf.runs):
        struct.pack_into("<QQ", made, 0x98 + 16 * number, first, count)
    made[0x348 : 0x348 + 0x4D0] = context(processor)
    struct.pack_into("<I", made, 0xF98, FULL)
    shared = memory.read(_SHARED, 0x20)
    if len(shared) == 0x20:
        struct.pack_into("<Q", made, 0xFA8, struct.unpack_from("<Q", shared, 0x14)[0])
        struct.pack_into("<Q", made, 0x1030, struct.unpack_from("<Q", shared, 0x8)[0])
    return bytes(made)


def _kernel(memory: PagedMemory, table: int) -> tuple[int, int] | None:
    """Base and size of the image that holds one of the first interrupt handlers."""
    for vector in range(_VECTORS):
        low, _, middle, high = struct.unpack("<HIHI", memory.read(table + 16 * vector, 12).ljust(12, b"\0"))
        handler = high << 32 | middle << 16 | low
        page = handler & -PAGE
        for base in range(page, max(page - IMAGE_BYTES, 0), -PAGE):
            head = memory.read(base, PAGE)
            if head[:2] != b"MZ" or len(head) < PAGE:
                continue
            at = struct.unpack_from("<I", head, 0x3C)[0]
            if at > PAGE - 0x60 or head[at : at + 6] != b"PE\0\0\x64\x86":
                continue
            size = struct.unpack_from("<I", head, at + 0x50)[0]
            if handler < base + size <= base + IMAGE_BYTES:
                return base, size
            break
    return None


def debugger_block(memory: PagedMemory, base: int, size: int) -> int | None:
    """Address of KDDEBUGGER_DATA64 in a kernel's image; None if it is not there in the clear."""
    for page in range(base, base + size, PAGE):
        data = memory.read(page, PAGE + 0x20)
        for found in re.finditer(rb"KDBG", data):
            at = found.start() - 0x10
            if at < 0 and page == base:
                continue
            length, kernel = struct.unpack("<IQ", memory.read(page + at + 0x14, 12).ljust(12, b"\0"))
            if kernel == base and 0x210 <= length <= PAGE:
                return page + at
    return None


def context(processor: Processor) -> bytes:
    """The processor's registers as a CONTEXT of x64."""
    made = bytearray(0x4D0)
    struct.pack_into("<I", made, 0x30, _FLAGS)
    for name, at in _SELECTORS_AT.items():
        struct.pack_into("<H", made, at, processor.registers[name])
    struct.pack_into("<I", made, 0x44, processor.registers["rflags"] & 0xFFFF_FFFF)
    for name in NAMES:
        if name in _REGISTERS_AT:
            struct.pack_into("<Q", made, _REGISTERS_AT[name], processor.registers[name])
    return bytes(made)
