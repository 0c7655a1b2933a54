"""A bugcheck as a kernel prints it, and the evidence that is read while the kernel stands in it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from harness.debuggers import kd_context
from harness.debuggers.kd_describe import Fields
from harness.debuggers.kd_halted import HaltedTarget
from harness.errors import KdError

_PARAMETER = r"\s{0,8}0x([0-9A-Fa-f]{1,16})"
_FATAL = re.compile(
    r"\*\*\* Fatal (?:System )?Error:?\s{0,8}0x([0-9A-Fa-f]{1,16})\s{0,8}:?\s{0,80}\("
    + ",".join([_PARAMETER] * 4)
    + r"\s{0,8}\)"
)
_RECENT = 2048
_STACK_BYTES = 1024


@dataclass(frozen=True)
class Bugcheck:
    """Code and four parameters."""

    code: int
    parameters: tuple[int, ...]


class BugcheckText:
    """Finds the bugcheck message in printed text, which may come in pieces."""

    def __init__(self) -> None:
        self._recent = ""

    def feed(self, text: str) -> Bugcheck | None:
        """The bugcheck that `text` completes, once."""
        self._recent = (self._recent + text)[-_RECENT:]
        if "*** Fatal" not in self._recent or (found := _FATAL.search(self._recent)) is None:
            return None
        self._recent = ""
        code, *parameters = (int(digits, 16) for digits in found.groups())
        return Bugcheck(code, tuple(parameters))


def evidence(target: HaltedTarget) -> tuple[Fields, Bugcheck | None]:
    """What can be read of a kernel that stopped in a bugcheck, and the bugcheck as its memory has it.

    Each part that cannot be read is missing, with a line in `unread` that says why.
    """
    fields: Fields = {}
    unread: list[str] = []
    kept: Bugcheck | None = None
    try:
        context = target.context()
        registers = kd_context.registers(context)
        fields["registers"] = registers
        stack = target.read(registers["rsp"], _STACK_BYTES)
        fields["stack"] = list(struct.unpack(f"<{len(stack) // 8}Q", stack[: len(stack) // 8 * 8]))
    except KdError as error:
        unread.append(error.message)
    try:
        version = target.version()
        fields["build"] = version.build
        fields["kernel_base"] = version.kernel_base
        if version.debugger_data and (words := target.bugcheck(version.debugger_data)):
            kept = Bugcheck(words[0], words[1:])
        modules = target.modules(version.modules) if version.modules else []
        fields["modules"] = [{"path": m.path, "base": m.base, "size": m.size} for m in modules]
    except KdError as error:
        unread.append(error.message)
    if unread:
        fields["unread"] = unread
    return fields, kept
