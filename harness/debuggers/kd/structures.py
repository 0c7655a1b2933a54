"""What the structures of a kernel that is halted in a bugcheck tell, as a dump of it would.

They are read after the stack of the crash, as far as there is time: IRPs, pool blocks, every processor and
waiting threads of a hang, and the end of the DbgPrint buffer, which has what was printed before a debugger
listened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.call_stack import MAX_FRAMES, MAX_SCANS, CallStacks
from harness.debuggers.kd.halted import HaltedTarget
from harness.debuggers.kd.link import TargetRestartedError
from harness.dumps.bugcheck import HANGS, base_code
from harness.dumps.formats.assembly import blocked_stack
from harness.dumps.formats.kdbg import debugger_data
from harness.dumps.kernel.examine import kernel_facts, threads_that_matter, view_of
from harness.dumps.kernel.view import KernelView
from harness.dumps.summary import ProcessorStack, Summary, ThreadStack
from harness.errors import KdError

MAX_PROCESSORS, MAX_THREADS = 64, 64
OUTPUT_BYTES = 1536
"""Of the DbgPrint buffer: two tenths of a second on a serial line."""


def with_structures(
    report: Summary, stacks: CallStacks, target: HaltedTarget, block_pointer: int, processors: int
) -> Summary:
    """The report with what the structures tell.

    Args:
        block_pointer: address of a pointer to KDDEBUGGER_DATA64, 0 if unknown.
        processors: how many the machine has.

    Raises:
        TargetRestartedError: the target is not there any more.
    """
    if report.bugcheck is None:
        return report
    memory, code, parameters = stacks.memory, report.bugcheck.code, report.bugcheck.parameters
    at = int.from_bytes(memory.read(block_pointer, 8), "little") if block_pointer else 0
    view = view_of(memory, debugger_data(memory, at), stacks.images, stacks.files, stacks.pdbs)
    others = tuple(_processors(stacks, target, processors)) if base_code(code) in HANGS else ()
    facts = kernel_facts(view, code, parameters, output_bytes=OUTPUT_BYTES)
    threads = tuple(_threads(view, stacks, code, parameters))
    return dataclasses.replace(
        report,
        modules=stacks.identified(
            report.modules, (*(one.stack for one in others), *(one.stack for one in threads))
        ),
        facts=dataclasses.replace(facts, needs_symbols=tuple(view.needs)),
        processors=others,
        threads=threads,
    )


def _processors(stacks: CallStacks, target: HaltedTarget, count: int) -> Iterator[ProcessorStack]:
    for number in range(min(count, MAX_PROCESSORS)):
        if stacks.memory.expired():
            return
        try:
            registers = kd_context.registers(target.context(number))
        except TargetRestartedError:
            raise
        except KdError:
            continue
        yield ProcessorStack(number, registers, tuple(stacks.of(registers)))


def _threads(
    view: KernelView, stacks: CallStacks, code: int, parameters: tuple[int, ...]
) -> Iterator[ThreadStack]:
    walk = stacks.walk()
    for thread in threads_that_matter(view, code, parameters, most=MAX_THREADS):
        if stacks.memory.expired():
            return
        stack = blocked_stack(walk, thread, max_frames=MAX_FRAMES, max_scans=MAX_SCANS)
        yield ThreadStack(thread.address, thread.registers, tuple(stack), thread.name)
