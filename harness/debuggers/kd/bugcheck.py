"""Finds a bugcheck in a kernel's output, and tells whether one brought a halted kernel to its breakpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.describe import Fields
from harness.debuggers.kd.halted import HaltedTarget
from harness.debuggers.kd.link import SilentTargetError, TargetRestartedError
from harness.dumps import bugcheck
from harness.errors import KdError

_PARAMETER = r"\s{0,8}0x([0-9A-Fa-f]{1,16})"
_FATAL = re.compile(
    r"\*\*\* Fatal (?:System )?Error:?\s{0,8}0x([0-9A-Fa-f]{1,16})\s{0,8}:?\s{0,80}\("
    + ",".join([_PARAMETER] * 4)
    + r"\s{0,8}\)"
)
_RECENT = 2048
BEFORE_DUMP, AFTER_DUMP = 3, 4
"""First argument of the kernel's breakpoint routine when a bugcheck calls it."""


@dataclass(frozen=True)
class Bugcheck:
    """Code and four parameters."""

    code: int
    parameters: tuple[int, ...]


def described(found: Bugcheck, information: Sequence[int] = ()) -> Fields:
    """Name and explanation of a bugcheck; `information`: the parameters of its exception record, if read."""
    return {
        "name": bugcheck.lookup(found.code).name,
        "explanation": bugcheck.explanation(found.code, found.parameters, information),
    }


class BugcheckText:
    """Finds the bugcheck message in printed text, which may be split over several prints."""

    def __init__(self) -> None:
        self._recent = ""

    def feed(self, text: str) -> Bugcheck | None:
        """The bugcheck whose message `text` completes, once."""
        self._recent = (self._recent + text)[-_RECENT:]
        if "*** Fatal" not in self._recent or (found := _FATAL.search(self._recent)) is None:
            return None
        self._recent = ""
        code, *parameters = (int(digits, 16) for digits in found.groups())
        # KeBugCheckEx takes a ULONG; a kernel that prints 64 bits shows an NTSTATUS with its sign extended.
        return Bugcheck(code & 0xFFFFFFFF, tuple(parameters))


def is_bugcheck(target: HaltedTarget) -> bool:
    """Whether a bugcheck halted an x64 target; read from the first argument of the breakpoint routine.

    Raises:
        SilentTargetError: it does not answer.
        TargetRestartedError: it is not there any more.
    """
    return reason(target) in (BEFORE_DUMP, AFTER_DUMP)


def reason(target: HaltedTarget) -> int:
    """The first argument of the kernel's breakpoint routine, on an x64 target; 0 when it cannot be read.

    Raises:
        SilentTargetError: it does not answer.
        TargetRestartedError: it is not there any more.
    """
    try:
        return kd_context.registers(target.context())["rcx"] & 0xFFFFFFFF
    except (TargetRestartedError, SilentTargetError):
        raise
    except KdError:
        return 0
