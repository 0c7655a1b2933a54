"""Reads every processor of a kernel that a break-in halted: registers and call stack, as of a hang."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.call_stack import CallStacks, frame_fields
from harness.debuggers.kd.describe import Fields
from harness.debuggers.kd.evidence import place_of, require_known
from harness.debuggers.kd.halted import HaltedTarget, Module
from harness.debuggers.kd.link import SilentTargetError, TargetRestartedError
from harness.debuggers.kd.modules import loaded_modules
from harness.dumps import cpu
from harness.dumps.summary import ProcessorStack, Summary
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import symbolise
from harness.errors import HostError, KdError

_STACK_BYTES = 512
"""Of each stack, to know which images matter: a tenth of a second for two processors on a serial line."""
_KERNEL_IMAGES = 0xFFFF_F800_0000_0000


def processors(
    target: HaltedTarget,
    count: int,
    known: Sequence[Module] = (),
    symbols: SymbolPath | None = None,
) -> tuple[Fields, Summary | None]:
    """The event's fields, and the report: registers and call stack of every processor of an x64 kernel.

    Args:
        known: images that the kernel reported as loaded.
        symbols: where images and PDBs are.

    Raises:
        KdError: the kernel does not answer.
    """
    version = target.version()
    try:
        require_known(version)
    except KdError as error:
        return {"processors": count, "unread": [error.message]}, None
    registers = {number: kd_context.registers(context) for number, context in target.contexts().items()}
    unread: list[str] = []
    try:
        wanted = _wanted(target, registers)
        modules, complete = loaded_modules(target, version.modules, wanted, known)
        if not complete:
            unread.append(f"{len(modules)} images are known: the line is slow.")
    except (TargetRestartedError, SilentTargetError):
        raise
    except KdError:
        modules = list(known)
    stacks = CallStacks(target, modules, symbols)
    found = tuple(
        ProcessorStack(number, values, tuple(stacks.of(values))) for number, values in registers.items()
    )
    if stacks.out_of_time:
        unread.append("The stacks were followed for a limited time only: the line is slow.")
    report = Summary(
        type="live kernel",
        arch=cpu.ARCHITECTURES[cpu.X64],
        system={"build": version.build, "kernel_base": version.kernel_base},
        bugcheck=None,
        exception=None,
        registers={},
        fault=None,
        fault_source="",
        modules=stacks.identified(stacks.images, [one.stack for one in found]),
        unloaded=(),
        stack=(),
        truncated=False,
        warnings=(),
        processors=found,
    )
    if symbols is not None:
        try:
            report = symbolise(report, symbols)
        except HostError as error:
            unread.append(error.message)
    fields: Fields = {
        "processors": count,
        "registers": {str(number): values for number, values in registers.items()},
        "stacks": {str(one.number): frame_fields(one.stack) for one in report.processors},
        "places": {str(number): place_of(values["rip"], modules) for number, values in registers.items()},
    }
    return fields | ({"unread": unread} if unread else {}), report


def _wanted(target: HaltedTarget, registers: dict[int, dict[str, int]]) -> list[int]:
    """Addresses whose images matter: where each processor stands, and words on its stack."""
    found = [values["rip"] for values in registers.values()]
    for values in registers.values():
        stack = target.read(values["rsp"], _STACK_BYTES)
        words = struct.unpack(f"<{len(stack) // 8}Q", stack[: len(stack) // 8 * 8])
        found += [word for word in words if word >= _KERNEL_IMAGES]
    return found
