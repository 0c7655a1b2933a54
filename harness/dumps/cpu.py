"""CPU state in dumps: CONTEXT of x64, ARM64 and x86, x64 KTRAP_FRAME, EXCEPTION_RECORD64 (winnt.h)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from harness.dumps.summary import ExceptionRecord

X64 = 0x8664
ARM64 = 0xAA64
X86 = 0x14C
ARCHITECTURES = {X64: "x64", ARM64: "arm64", X86: "x86", 0x1C4: "arm"}

CONTEXT_SIZE = {X64: 0x4D0, ARM64: 0x390, X86: 0x2CC}
EXCEPTION_SIZE = 0x98
TRAP_FRAME_SIZE = 0x190
MAX_EXCEPTION_PARAMETERS = 15

_X64_CONTEXT_FLAG = 0x00100000
_ARM64_CONTEXT_FLAG = 0x00400000
_X86_CONTEXT_FLAG = 0x00010000
_X86_ORDER = (
    *("gs", "fs", "es", "ds", "edi", "esi", "ebx", "edx", "ecx", "eax", "ebp", "eip", "cs", "eflags"),
    *("esp", "ss"),
)
_X64_ORDER = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"),
)
_X64_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
_TRAP_FRAME = {
    **{"rax": 0x30, "rcx": 0x38, "rdx": 0x40, "r8": 0x48, "r9": 0x50, "r10": 0x58, "r11": 0x60},
    **{"rbp": 0x158, "error_code": 0x160, "rip": 0x168, "rsp": 0x180},
}


def registers(data: bytes, machine: int) -> dict[str, int]:
    """Registers of a CONTEXT; empty when it is truncated, or its flags are not those of `machine`."""
    if len(data) < CONTEXT_SIZE.get(machine, 1 << 20):
        return {}
    if machine == X64:
        flags, mxcsr = struct.unpack_from("<II", data, 0x30)
        if not flags & _X64_CONTEXT_FLAG:
            return {}
        found = dict(zip(_X64_ORDER, struct.unpack_from("<17Q", data, 0x78), strict=True))
        found |= zip(_X64_SEGMENTS, struct.unpack_from("<6H", data, 0x38), strict=True)
        eflags = struct.unpack_from("<I", data, 0x44)[0]
        return found | {"eflags": eflags, "mxcsr": mxcsr, "context_flags": flags}
    if machine == X86:
        (flags,) = struct.unpack_from("<I", data)
        if not flags & _X86_CONTEXT_FLAG:
            return {}
        found = dict(zip(_X86_ORDER, struct.unpack_from("<16I", data, 0x8C), strict=True))
        return found | {"context_flags": flags}
    flags, cpsr = struct.unpack_from("<II", data)
    if not flags & _ARM64_CONTEXT_FLAG:
        return {}
    words = struct.unpack_from("<33Q", data, 8)
    found = {f"x{number}": word for number, word in enumerate(words[:29])}
    found |= zip(("fp", "lr", "sp", "pc"), words[29:], strict=True)
    return found | {"cpsr": cpsr, "context_flags": flags}


def trap_frame(data: bytes) -> dict[str, int]:
    """Volatile registers, Rbp, Rsp and Rip of an x64 KTRAP_FRAME; empty when it is truncated."""
    if len(data) < TRAP_FRAME_SIZE:
        return {}
    found = {name: struct.unpack_from("<Q", data, offset)[0] for name, offset in _TRAP_FRAME.items()}
    return found | {"eflags": struct.unpack_from("<I", data, 0x178)[0]}


def exception_record(data: bytes) -> ExceptionRecord | None:
    """EXCEPTION_RECORD64; None when it is truncated or all zero. Only NumberParameters words are read."""
    if len(data) < EXCEPTION_SIZE:
        return None
    code, flags, _, address, count = struct.unpack_from("<IIQQI", data)
    if not code and not address:
        return None
    words = struct.unpack_from(f"<{min(count, MAX_EXCEPTION_PARAMETERS)}Q", data, 0x20)
    return ExceptionRecord(code, flags, address, words)


def instruction_pointer(state: Mapping[str, int]) -> int | None:
    """Rip, Pc or Eip."""
    return state.get("rip", state.get("pc", state.get("eip")))


def stack_pointer(state: Mapping[str, int]) -> int | None:
    """Rsp, Sp or Esp."""
    return state.get("rsp", state.get("sp", state.get("esp")))
