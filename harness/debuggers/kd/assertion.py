"""A failed ASSERT of a checked driver, and a breakpoint that a driver has the kernel execute: who called.

RtlAssert prints the expression and its source, asks the debugger what to do (`boipt`), and on `o` executes a
breakpoint and returns. Driver Verifier does so for an I/O verification error, but asks again after its
breakpoint (Microsoft Learn, bugcheck 0xC9). Only the stack at the breakpoint tells which driver it was.
"""

from __future__ import annotations

import re

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.call_stack import CallStacks
from harness.debuggers.kd.describe import Fields
from harness.debuggers.kd.halted import HaltedTarget
from harness.debuggers.kd.images import LoadedImages
from harness.debuggers.kd.modules import loaded_modules
from harness.debuggers.kd.state import STATUS_BREAKPOINT, StateChange

BREAK_ONCE, BREAK, IGNORE = b"o", b"b", b"i"
SECONDS = 2.0
_CHOICES = "(boipt)"
_VERIFIER = re.compile(r"\bbreak\b.*\bignore\b.*\bzap\b", re.IGNORECASE | re.DOTALL)
"""The choices that Driver Verifier gives for an I/O verification error, bugcheck 0xC9 without a debugger."""
_VERIFIES = re.compile("WDM DRIVER ERROR|zap", re.IGNORECASE)
_OF_ROUTINE = 2
"""Frames of an assertion: the breakpoint routine, RtlAssert, and then who asserted."""
_SAID = ("Assertion failed", "WDM DRIVER ERROR")
_KEPT = 512


class Assertions:
    """Follows what the kernel prints and asks: `text` is the assertion that halted it, empty for none."""

    def __init__(self) -> None:
        self.text = ""
        self._printed = ""
        self._broke = False

    def printed(self, text: str) -> None:
        """Takes what the kernel prints."""
        if any(words in text for words in _SAID):
            self._printed = " ".join(text.replace("***", " ").split())[:_KEPT]

    def answer(self, question: str, *, can_break: bool) -> bytes:
        """The answer to a prompt: to break once at an assertion, to ignore anything else.

        Args:
            can_break: the host can read the stack of this kernel, and continue it behind a breakpoint.
        """
        asserts, verifies = _CHOICES in question, _VERIFIER.search(question) is not None
        if not can_break or not (asserts or verifies) or (verifies and self._broke):
            self._broke = False
            return IGNORE
        self.text = self._printed or self.text or question.strip()[:_KEPT]
        self._printed = ""
        self._broke = verifies  # Driver Verifier asks again after the breakpoint
        return BREAK_ONCE if asserts else BREAK


def breakpoint_of(
    target: HaltedTarget, change: StateChange, images: LoadedImages, modules: int, assertion: str
) -> Fields | None:
    """Fields of the event for a breakpoint in the kernel's own image; None where no image called for it.

    Args:
        modules: address of the kernel's list of images, 0 if unknown.
        assertion: the failed assertion. Its caller is found by unwinding; that of a breakpoint routine is at
            the top of the stack.

    Raises:
        KdError: the target refuses a request, does not answer, or is not there any more.
    """
    if images.placed(change.pc) and not images.is_kernel(change.pc):
        return None
    fields: Fields = {"code": STATUS_BREAKPOINT, "pc": change.pc}
    if assertion:
        registers = kd_context.registers(target.context())
        known = images.modules
        if modules and not images.placed(change.pc):
            known, _ = loaded_modules(target, modules, [change.pc], known)
        kernel = next((one for one in known if one.base <= change.pc < one.base + one.size), None)
        for depth, frame in enumerate(CallStacks(target, known, seconds=SECONDS).of(registers)):
            at = frame.place.address
            if frame.place.module is None or not frame.exact:
                break  # no witness
            if kernel is None or not kernel.base <= at < kernel.base + kernel.size:
                if depth > _OF_ROUTINE and not _VERIFIES.search(assertion):
                    break  # the kernel's own assertion, though a driver called the code that made it
                place = f"{frame.place.module}+{frame.place.offset or 0:#x}"
                return {**fields, "assertion": assertion, "place": place}
        return {**fields, "assertion": assertion}
    stack = target.read(kd_context.registers(target.context())["rsp"], 8)
    called = images.placed(int.from_bytes(stack, "little"))
    return {**fields, **called} if called else None
