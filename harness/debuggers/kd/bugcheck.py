"""Finds a bugcheck in a kernel's output; reads a kernel halted in a bugcheck or by a break-in."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.call_stack import CallStacks, culprit, frame_fields, place_text
from harness.debuggers.kd.describe import Fields
from harness.debuggers.kd.halted import HaltedTarget, Module
from harness.debuggers.kd.link import SilentTargetError, TargetRestartedError
from harness.debuggers.kd.manipulate import Version
from harness.dumps import bugcheck, cpu
from harness.dumps.names import base_name
from harness.errors import KdError

_PARAMETER = r"\s{0,8}0x([0-9A-Fa-f]{1,16})"
_FATAL = re.compile(
    r"\*\*\* Fatal (?:System )?Error:?\s{0,8}0x([0-9A-Fa-f]{1,16})\s{0,8}:?\s{0,80}\("
    + ",".join([_PARAMETER] * 4)
    + r"\s{0,8}\)"
)
_RECENT = 2048
_STACK_BYTES = 1024
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
        return Bugcheck(code, tuple(parameters))


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


def evidence(target: HaltedTarget, printed: Bugcheck | None) -> tuple[Fields, Bugcheck | None]:
    """Reads the state of a kernel that stopped in a bugcheck, and the bugcheck from its memory.

    Registers, stack and frames are those of the fault where a parameter of the bugcheck leads to them, else
    those of the call for the bugcheck. `frames` are unwound, `stack` is raw words; `culprit` is to blame.
    A part that cannot be read is missing; `unread` then has a line with the reason.

    Raises:
        TargetRestartedError: it is not there any more.
    """
    fields: Fields = {}
    unread: list[str] = []
    version: Version | None = None
    kept: Bugcheck | None = None
    fault: int | None = None
    modules: list[Module] = []
    registers: dict[str, int] = {}

    def read_version() -> None:
        nonlocal version
        version = target.version()
        fields.update(build=version.build, kernel_base=version.kernel_base)

    def read_bugcheck() -> None:
        nonlocal kept
        if version and version.debugger_data and (words := target.bugcheck(version.debugger_data)):
            kept = Bugcheck(words[0], words[1:])

    def read_modules() -> None:
        modules.extend(target.modules(version.modules) if version and version.modules else [])
        fields["modules"] = [{"path": m.path, "base": m.base, "size": m.size} for m in modules]
        if fault:
            fields["fault"] = _place(fault, modules)

    def read_record() -> None:
        found = kept or printed
        raised = bugcheck.raised(found.code, found.parameters) if found else None
        at = _named(found).get("xr")
        if not found or not raised or not at:
            return
        record = cpu.exception_record(target.read(at, cpu.EXCEPTION_SIZE))
        if record and record.code == raised[0]:
            fields.update(described(found, record.parameters))

    def read_registers() -> None:
        nonlocal fault, registers
        named = _named(kept or printed)
        fault = named.get("ip")
        _require_known(version)
        faulting = _faulting(target, named)
        fault = faulting.get("rip", fault)
        registers = faulting or kd_context.registers(target.context())
        fields["registers"] = registers
        stack = target.read(registers["rsp"], _STACK_BYTES)
        fields["stack"] = list(struct.unpack(f"<{len(stack) // 8}Q", stack[: len(stack) // 8 * 8]))

    def walk_stack() -> None:
        stacks = CallStacks(target, modules)
        frames = stacks.of(registers)
        fields["frames"] = frame_fields(frames)
        found = kept or printed
        blames_stack = found is None or bugcheck.blames_stack(found.code)
        place = stacks.place(fault) if fault else None
        if blamed := culprit(place, frames if blames_stack else ()):
            fields["culprit"] = place_text(blamed)

    reads = (read_version, read_bugcheck, read_registers, read_modules, read_record, walk_stack)
    for read in reads:
        try:
            read()
        except TargetRestartedError:
            raise
        except KdError as error:
            unread.append(error.message)
    if unread:
        fields["unread"] = unread
    return fields, kept


def _named(found: Bugcheck | None) -> dict[str, int]:
    """Parameters of a bugcheck by their role, such as `ip`."""
    return bugcheck.addresses(found.code, found.parameters) if found else {}


def _faulting(target: HaltedTarget, named: Mapping[str, int]) -> dict[str, int]:
    """Registers at the fault, from the context record or trap frame that a parameter points to; or none."""
    if "cx" in named:
        return cpu.registers(target.read(named["cx"], kd_context.SIZE), kd_context.AMD64)
    if "tf" in named:
        return cpu.trap_frame(target.read(named["tf"], cpu.TRAP_FRAME_SIZE))
    return {}


def _require_known(version: Version | None) -> None:
    """Raises KdError if the kernel reports a machine type other than x64."""
    if version is not None and version.machine != kd_context.AMD64:
        raise KdError(f"Registers of machine type {version.machine:#x} are not supported; only x64 is.")


def processors(target: HaltedTarget, count: int) -> Fields:
    """Registers and call stack of every processor of an x64 kernel that a break-in halted.

    Raises:
        KdError: the kernel does not answer.
    """
    version = target.version()
    try:
        _require_known(version)
    except KdError as error:
        return {"processors": count, "unread": [error.message]}
    registers = {number: kd_context.registers(context) for number, context in target.contexts().items()}
    try:
        modules = target.modules(version.modules)
    except (TargetRestartedError, SilentTargetError):
        raise
    except KdError:
        modules = []
    stacks = CallStacks(target, modules)
    return {
        "processors": count,
        "registers": {str(number): values for number, values in registers.items()},
        "stacks": {str(number): frame_fields(stacks.of(values)) for number, values in registers.items()},
        "places": {str(number): _place(values["rip"], modules) for number, values in registers.items()},
    }


def _place(address: int, modules: Sequence[Module]) -> str:
    for module in modules:
        if module.base <= address < module.base + module.size:
            return f"{base_name(module.path)}+{address - module.base:#x}"
    return f"{address:#x}"
