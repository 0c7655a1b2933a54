"""Compares a crash with the crash that its scenario expects."""

from __future__ import annotations

from harness.outcome import CrashExpectation, KernelCrash


def describe(crash: KernelCrash) -> str:
    """One line: `bugcheck 0x000000e2 (0x1, 0x2, 0x3, 0x4)`, `exception 0xc0000005 at 0x0 ...` or `hang`."""
    if crash.kind == "bugcheck":
        return f"bugcheck 0x{crash.code:08x} ({', '.join(f'{value:#x}' for value in crash.parameters)})"
    if crash.hint.what:
        return crash.hint.what
    if crash.kind == "exception":
        where = crash.parameters[1:3]
        places = (f"{word} {value:#x}" for word, value in zip(("at", "on address"), where, strict=False))
        return " ".join((f"exception 0x{crash.code:08x}", *places))
    if crash.kind == "ended":
        return f"end of the driver's service by itself, exit code {crash.code}"
    if crash.kind == "flood":
        return "flood: more debug output than the host can read"
    return "hang: no progress before the deadline"


def mismatch(expected: CrashExpectation, crash: KernelCrash) -> str:
    """Why `crash` is not the expected one; empty when it is.

    A bugcheck is compared with `bugcheck` and `parameters`, an exception with `exception` and `address`. One
    scenario gives both, because Windows and Wine report the same fault differently. An expectation without
    any field is met by every bugcheck and every exception.
    """
    got = describe(crash)
    if crash.kind in ("flood", "ended"):
        return f"Expected a crash, got {got}."
    if crash.kind == "hang":
        return "" if expected.hang else f"Expected a crash, got a {got}."
    if expected == CrashExpectation():
        return ""
    if crash.kind == "bugcheck":
        if expected.bugcheck is None:
            return f"Expected no bugcheck, got {got}."
        if crash.code != expected.bugcheck:
            return f"Expected bugcheck {expected.bugcheck:#010x}, got {got}."
        for number, (want, have) in enumerate(
            zip(expected.parameters or (), crash.parameters, strict=False), start=1
        ):
            if want is not None and want != have:
                return f"Expected bugcheck parameter {number} to be {want:#x}, got {got}."
        return ""
    if expected.exception is None:
        return f"Expected no exception, got {got}."
    if crash.code != expected.exception:
        return f"Expected exception {expected.exception:#010x}, got {got}."
    if expected.address is not None and crash.parameters[2:3] != (expected.address,):
        return f"Expected the exception on address {expected.address:#x}, got {got}."
    return ""
