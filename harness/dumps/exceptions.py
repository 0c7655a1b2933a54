"""Explains exceptions in words: what a code means, and what the faulting code did, from the parameters.

The parameters of an access violation are the kind of access (0 read, 1 write, 8 execute) and the address; an
in-page error adds the status of the failed read; the first of a fast-fail is its code (EXCEPTION_RECORD).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.dumps.bugcheck_table import find
from harness.dumps.ntstatus import NTSTATUS

EXCEPTIONS: Final[dict[int, str]] = {
    0x80000001: "guard page",
    0x80000002: "data misalignment",
    0x80000003: "breakpoint or failed assertion",
    0x80000004: "single step",
    0x80000100: "call of a routine that Wine does not implement",
    0xC0000005: "access violation",
    0xC0000006: "in-page error",
    0xC0000008: "invalid handle",
    0xC000001D: "illegal instruction",
    0xC0000025: "attempt to continue after a noncontinuable exception",
    0xC0000026: "invalid disposition of an exception handler",
    0xC0000028: "invalid stack",
    0xC000008C: "array bounds exceeded",
    0xC000008E: "floating point divide by zero",
    0xC0000090: "invalid floating point operation",
    0xC0000091: "floating point overflow",
    0xC0000094: "integer divide by zero",
    0xC0000095: "integer overflow",
    0xC0000096: "privileged instruction",
    0xC00000FD: "stack overflow",
    0xC0000374: "heap corruption",
    0xC0000409: "fast-fail",
    0xC0000420: "assertion failure",
    0xC000046E: "hardware memory error",
    0xE06D7363: "C++ exception",
}
_DID: Final[dict[int, str]] = {
    0x80000002: "used an address that is not aligned for the instruction",
    0x80000003: "hit a breakpoint or failed an assertion",
    0x80000004: "raised a single-step trap",
    0xC000001D: "executed an illegal instruction: a damaged code pointer, or code for another processor",
    0xC000008C: "used an array index out of bounds",
    0xC000008E: "divided a floating point number by zero",
    0xC0000094: "divided an integer by zero",
    0xC0000095: "overflowed an integer in a division",
    0xC0000096: "executed a privileged instruction that is not allowed there",
    0xC00000FD: "used up its stack",
    0xC0000374: "found its heap damaged",
    0xC0000420: "failed an assertion",
    0xE06D7363: "threw a C++ exception that nothing caught",
}
_PROTECTION_FAULT = (
    "raised a general protection fault, usually through an address which no pointer can have (it is not "
    "canonical): it was overwritten or never set"
)
"""The processor tells no address then; NT reports all ones."""
_ACCESSES = frozenset({0, 1, 8})
_ACCESS_VIOLATION, _IN_PAGE, _FAST_FAIL = 0xC0000005, 0xC0000006, 0xC0000409
_SECURITY_CHECK = 0x139
_FAILURE = 0x80000000
"""Set in statuses that are warnings or errors."""
_NULL_PAGE = 0x10000
_USER_END, _KERNEL, _TOP = 1 << 47, 0xFFFF_8000_0000_0000, (1 << 64) - 1


def status_name(code: int) -> str:
    """The symbolic name of an NTSTATUS, which may be sign-extended; empty when it is not in the table."""
    return NTSTATUS.get(code & 0xFFFFFFFF, "")


def exception_name(code: int) -> str:
    """The meaning of an exception code, else its symbolic name, else empty. A status may be sign-extended."""
    return EXCEPTIONS.get(code & 0xFFFFFFFF) or (status_name(code) if code & _FAILURE else "")


def is_information(code: int, values: Sequence[int]) -> bool:
    """Whether two words can be the first parameters of an exception: for a failed access, a kind of access.

    What bugcheck 0x1E holds there is up to the kernel: others than Windows put an address there.
    """
    return code & 0xFFFFFFFF not in (_ACCESS_VIOLATION, _IN_PAGE) or (bool(values) and values[0] in _ACCESSES)


def cause(code: int, information: Sequence[int]) -> str:
    """What the code that raised the exception did, such as `wrote to address 0x10, through a null pointer`.

    Empty when it does not follow from the code and the exception's parameters.
    """
    code &= 0xFFFFFFFF
    if code in (_ACCESS_VIOLATION, _IN_PAGE) and len(information) > 1:
        verb = {0: "read from", 1: "wrote to", 8: "jumped to"}.get(information[0], "accessed")
        if code == _ACCESS_VIOLATION and information[1] == _TOP:
            return _PROTECTION_FAULT
        if code == _ACCESS_VIOLATION:
            return f"{verb} {address_words(information[1])}"
        status = f": {status_name(information[2])}" if len(information) > 2 else ""
        return f"{verb} address {information[1]:#x}, which could not be read from its file{status}"
    if code == _FAST_FAIL and information:
        check = find(_SECURITY_CHECK, (information[0],)).kind
        return f"ended the system with a fast-fail: {check}" if check else ""
    return _DID.get(code, "")


def address_words(address: int) -> str:
    """An address that could not be accessed, and the usual reason."""
    if address < _NULL_PAGE:
        return f"address {address:#x}, through a null pointer"
    if _TOP - _NULL_PAGE < address < _TOP:
        return f"address {address:#x}, at a negative offset from a null pointer"
    if _USER_END <= address < _KERNEL or address == _TOP:
        return f"address {address:#x}, which no pointer can have: it was overwritten or never set"
    return f"address {address:#x}, which is not mapped: freed, never valid, or not allowed here"
