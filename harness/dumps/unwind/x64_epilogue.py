"""Whether an x64 instruction lies in an epilogue, and what is left of it to do.

An epilogue is `add rsp, n` or `lea rsp, [frame register + n]`, pops of registers, then `ret` or a jump out
of the function, and nothing else: that is what Windows' own unwinder relies on, too.
"""

from __future__ import annotations

import struct

from harness.dumps.record import record

_LONGEST = 64
_RSP = 4


@record
class Epilogue:
    """What is left of it: `base` register and `add` give the stack pointer, then `pops` are popped."""

    base: int
    add: int
    pops: tuple[int, ...]


def epilogue(code: bytes, offset: int, function: tuple[int, int], frame_register: int) -> Epilogue | None:
    """What is left of the epilogue that `code` is in; None when it is in none.

    Args:
        code: from the instruction on, up to 64 bytes.
        offset: of the instruction in its image.
        function: start and end of the function.
        frame_register: its number, 0 for none.
    """
    code = code[:_LONGEST]
    base, add, at = _release(code, frame_register)
    pops: list[int] = []
    while at < len(code):
        byte, following = code[at], code[at + 1 : at + 2]
        if 0x58 <= byte <= 0x5F:
            pops.append(byte - 0x58)
            at += 1
        elif byte == 0x41 and following and 0x58 <= following[0] <= 0x5F:
            pops.append(following[0] - 0x50)
            at += 2
        else:
            break
    return Epilogue(base, add, tuple(pops)) if _leaves(code[at:], offset + at, function) else None


def _release(code: bytes, frame_register: int) -> tuple[int, int, int]:
    """Base register and distance of the new stack pointer, and the length of the instruction; 0 for none."""
    if code.startswith(b"\x48\x83\xc4") and len(code) >= 4:
        return _RSP, struct.unpack_from("<b", code, 3)[0], 4
    if code.startswith(b"\x48\x81\xc4") and len(code) >= 7:
        return _RSP, struct.unpack_from("<i", code, 3)[0], 7
    if len(code) >= 8 and code[0] & 0xFE == 0x48 and code[1] == 0x8D and frame_register:
        mode, target, register = code[2] >> 6, code[2] >> 3 & 7, (code[2] & 7) | (code[0] & 1) << 3
        at = 3 + (code[2] & 7 == _RSP)  # R12 takes a SIB byte
        if target == _RSP and register == frame_register:
            if mode == 1:
                return register, struct.unpack_from("<b", code, at)[0], at + 1
            if mode == 2 and len(code) >= at + 4:
                return register, struct.unpack_from("<i", code, at)[0], at + 4
            if mode == 0 and code[2] & 7 != 5:
                return register, 0, at
    return _RSP, 0, 0


def _leaves(code: bytes, offset: int, function: tuple[int, int]) -> bool:
    """Whether the instruction ends the function: a return, or a jump to another one."""
    if code[:1] in (b"\xc3", b"\xc2") or code[:2] == b"\xf3\xc3":
        return True
    start, end = function
    if code[:1] == b"\xeb" and len(code) >= 2:
        target = offset + 2 + struct.unpack_from("<b", code, 1)[0]
        return not start <= target < end
    if code[:1] == b"\xe9" and len(code) >= 5:
        target = offset + 5 + struct.unpack_from("<i", code, 1)[0]
        return not start <= target < end
    if code[:2] == b"\xff\x25":
        return True
    at = (
        1 if code[:1] and code[0] & 0xF8 == 0x48 else 0
    )  # with a REX.W prefix it is a tail call by convention
    return at == 1 and len(code) >= 3 and code[1] == 0xFF and code[2] >> 3 & 7 == _RSP
