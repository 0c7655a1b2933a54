"""Finds the driver that called KeBugCheckEx itself: the witness of a crash that was asked for.

Who else is on that stack did nothing: the user, a debugger or a policy asked, and the code was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.dumps import cpu
from harness.dumps.attribution import AddressMap
from harness.dumps.exports import exported
from harness.dumps.image import Image, UnreadableError
from harness.dumps.summary import Found, Module, StackFrame

_ROUTINES = ("KeBugCheckEx", "KeBugCheck")
_ROUTINE_SPAN = 0x200
"""More than the bytes of either routine; for a kernel without a function table."""
_CARRIES_OUT = frozenset({"i8042prt.sys", "kbdhid.sys", "hyperkbd.sys"})
"""Keyboard drivers that crash the system for the user (Microsoft Learn, Forcing a System Crash)."""


def caller(addresses: AddressMap, stack: Sequence[StackFrame], driver: str = "") -> StackFrame | None:
    """The frame outside the kernel that certainly called for the bugcheck; None if no driver did.

    Where the kernel's exports are not at hand, the driver must be right under the frame of the bugcheck.

    Args:
        driver: file name of the driver under test, which is named whatever its file is called.
    """
    kernel = addresses.module_at(stack[0].place.address) if stack else None
    if kernel is None:
        return None
    before = stack[0]
    for depth, frame in enumerate(stack[1:], 1):
        if not frame.exact or frame.found is Found.MACHINE_FRAME:
            return None
        if frame.place.module is None or not kernel.base <= frame.place.address < kernel.end:
            name = (frame.place.module or "").lower()
            named = name and (name == driver.lower() or name not in _CARRIES_OUT)
            return frame if named and _is_bugcheck(addresses, kernel, before, depth) else None
        before = frame
    return None


def _is_bugcheck(addresses: AddressMap, kernel: Module, frame: StackFrame, depth: int) -> bool:
    """Whether a frame of the kernel is in a routine that raises bugchecks for drivers."""
    image = addresses.image(kernel)
    offset = frame.place.address - kernel.base - frame.returned
    known = False
    for name in _ROUTINES:  # over a debugger line each costs a part of a second
        if (entry := exported(image, name)) is not None:
            known = True
            if _is_in(image, offset, entry):
                return True
    return not known and depth == 1


def _is_in(image: Image, offset: int, entry: int) -> bool:
    """Whether an instruction is in the function that starts at `entry`."""
    try:
        found = image.function(offset, 2 if image.machine == cpu.ARM64 else 3)
    except UnreadableError:
        found = None
    if found and found[0] >= entry:
        return found[0] == entry
    return 0 <= offset - entry < _ROUTINE_SPAN
