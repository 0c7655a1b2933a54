"""State of every processor in a kernel dump, as each saved it when the crash froze it.

KiProcessorBlock holds the address of each KPRCB; KDDEBUGGER_DATA64 holds the offset of the CONTEXT in it
(OffsetPrcbProcStateContext, wdbgexts.h).
"""

from __future__ import annotations

import struct

from harness.dumps import cpu
from harness.dumps.summary import ProcessorStack, VirtualMemory
from harness.dumps.unwind.walk import StackWalk

MAX_PROCESSORS = 256
MAX_FRAMES = 64
_BLOCK_AT, _CONTEXT_AT = 0x218, 0x2BC


def processor_stacks(
    block: bytes, memory: VirtualMemory, walk: StackWalk, count: int, machine: int
) -> list[ProcessorStack]:
    """Registers and stack of each processor whose state the dump holds.

    Args:
        block: KDDEBUGGER_DATA64, empty when the dump has none.
        count: number of processors in the header.
    """
    if not block or machine not in cpu.CONTEXT_SIZE:
        return []
    (array,) = struct.unpack_from("<Q", block, _BLOCK_AT)
    (offset,) = struct.unpack_from("<H", block, _CONTEXT_AT)
    if not array or not offset:
        return []
    data = memory.read(array, 8 * min(count, MAX_PROCESSORS))
    found = []
    for number, (prcb,) in enumerate(struct.iter_unpack("<Q", data[: len(data) & ~7])):
        if not prcb:
            continue
        registers = cpu.registers(memory.read(prcb + offset, cpu.CONTEXT_SIZE[machine]), machine)
        if registers and cpu.instruction_pointer(registers):
            stack = walk.walk(registers, max_frames=MAX_FRAMES)
            found.append(ProcessorStack(number, registers, tuple(stack)))
    return found
