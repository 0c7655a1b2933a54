"""What Wine's log says about a crash or a failed load: its own limits, and what DriverEntry returned."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from harness.guests.wine.guard_lines import violation
from harness.interfaces import EntryStatus
from harness.outcome import CrashHint, DebugRecord, KernelCrash

_UNIMPLEMENTED = re.compile(r"wine: Unimplemented function ([\w.]{1,200}) called")
_BUFFER_OVERFLOW = 0x80000005
_FAST_FAIL = 0xC0000409
_COOKIE = re.compile(r"winvm: stack cookie overwritten before (?P<at>[0-9A-Fa-f]{8,16})")
"""Line of driver/wdk/lib/stack_protector.c. The call that printed it ends before that address."""
_OVERFLOW = "debug buffer overflow"
"""Wine's words before it raises STATUS_BUFFER_OVERFLOW in whoever printed."""
_LIBRARY = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}:trace:loaddll:")
"""Wine's line about a loaded library. A dozen come at each start and would hide the driver's own output."""
_STATUS = re.compile(r":err:ntoskrnl:ZwLoadDriver failed to create driver .*: (?P<status>[0-9a-f]{8})$")
_ENTERED = re.compile(r":trace:loaddll:\S+ Loaded .*\.sys\" at [0-9A-F]+: native", re.IGNORECASE)
_VIOLATION = re.compile(r"^[0-9a-f:]+:warn:seh:dispatch_exception \S+ exception \(code=c0000005\) raised$")
_SEVERE = 0x80000000
"""Set in statuses that are warnings or errors; NT_SUCCESS() holds for the others, which Wine refuses too."""


def hinted(crash: KernelCrash, records: Iterable[DebugRecord]) -> KernelCrash:
    """The crash with what Wine's log says about it; the crash itself where the log says nothing more.

    Args:
        records: the debug output before the crash.
    """
    if crash.kind == "bugcheck":
        return _guarded(crash, records)
    if found := _UNIMPLEMENTED.match(crash.text):
        hint = CrashHint(
            what=f"call of {found[1]}, which is not implemented by Wine",
            cause=f"called {found[1]}, which Wine does not implement; a Windows kernel has it",
            limit=f"the driver called {found[1]}, which Wine does not implement",
        )
    elif crash.code == _BUFFER_OVERFLOW and any(_OVERFLOW in record.text for record in records):
        hint = CrashHint(
            limit="one DbgPrint had 1,000 bytes or more, for which Wine ends the driver; Windows cuts at 512"
        )
    elif crash.code == _FAST_FAIL and (at := _cookie(records)):
        hint = CrashHint(
            what=f"fast-fail 0x{_FAST_FAIL:08x}: the stack cookie of the function at {at:#x} was overwritten",
            cause="overran a buffer on its stack: the cookie before its return address was overwritten",
        )
        # Wine reports the address of the fast-fail itself, and there is no stack to find the caller on.
        crash = dataclasses.replace(crash, parameters=(crash.parameters[0], at, *crash.parameters[2:]))
    else:
        return crash
    return dataclasses.replace(crash, hint=hint)


def _guarded(crash: KernelCrash, records: Iterable[DebugRecord]) -> KernelCrash:
    """A bugcheck that the driver's guard raised, with its words and its stack."""
    found = violation(records)
    if found is None:
        return crash
    hint = CrashHint(cause=f"is at fault, by the guard's report: {found.what}")
    return dataclasses.replace(crash, hint=hint, stack=found.stack)


def _cookie(records: Iterable[DebugRecord]) -> int:
    """An address in the function whose cookie was overwritten; 0 if the driver printed another line last."""
    printed = [record.text for record in records if record.source == "dbgprint"]
    found = _COOKIE.match(printed[-1]) if printed else None
    return int(found["at"], 16) - 1 if found else 0


def entry_status(records: Iterable[DebugRecord]) -> EntryStatus | None:
    """What DriverEntry returned, if Wine says so; None if the image was not even loaded.

    Wine's line is `ZwLoadDriver failed to create driver ...: c0000182`.
    """
    entered, status = False, None
    for record in records:
        if record.source != "wine":
            continue
        entered = entered or bool(_ENTERED.search(record.text))
        if entered and (found := _STATUS.search(record.text)):
            status = int(found["status"], 16)
    if status is None:
        return None
    return EntryStatus(status, "" if status & _SEVERE else "Windows starts such a driver, Wine does not")


def caught(records: Iterable[DebugRecord]) -> str:
    """One sentence about access violations in the driver's process that ended nothing; empty without any.

    Wine's line is `...:seh:dispatch_exception EXCEPTION_ACCESS_VIOLATION exception (code=c0000005) raised`.
    Its own kernel meets one, too, where a driver reads shared user data, and goes on.
    """
    count = sum(record.source == "wine" and bool(_VIOLATION.search(record.text)) for record in records)
    if not count:
        return ""
    return (
        f"{count} access violation{'s' * (count > 1)} in the driver {'were' if count > 1 else 'was'} caught, "
        "by its own handler or by Wine: memory may be damaged, and on Windows a kernel address that is not "
        "mapped is a bugcheck in spite of a handler"
    )


def is_noise(text: str) -> bool:
    """Whether a line of the log is about Wine itself and says nothing about the driver."""
    return bool(_LIBRARY.match(text))
