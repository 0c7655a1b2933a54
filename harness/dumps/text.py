"""Formats a dump's summary as text for a terminal. Text from the dump is escaped."""

from __future__ import annotations

from collections.abc import Iterator

from harness.display.terminal import printable, styled
from harness.dumps.attribution import is_core
from harness.dumps.bugcheck import HANGS, base_code, raised
from harness.dumps.exceptions import cause, exception_name
from harness.dumps.facts import NOTHING
from harness.dumps.signature import dump_signature
from harness.dumps.summary import Found, Place, StackFrame, Summary

STACK_LINES = 40
PROCESSORS, PROCESSOR_LINES = 16, 12
THREADS, THREAD_LINES = 8, 6
_ROW = 4
_BREAKPOINT = 0x80000003
_SYSTEM = {
    **{"build_lab": "build lab", "build": "build", "processors": "processors", "time": "time"},
    **{"product": "product", "process_id": "process id"},
}
_NAMES = ("rip", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
_X86_NAMES = ("eip", "esp", "ebp", "eax", "ebx", "ecx", "edx", "esi", "edi")
_ARM_NAMES = ("pc", "sp", "fp", "lr", *(f"x{n}" for n in range(29)))


def place_text(place: Place) -> str:
    """`module+0xoffset function (file:line)`, or the bare address."""
    where = f"{place.module}+{place.offset or 0:#x}" if place.module else f"{place.address:#x}"
    return printable(f"{where}  {place.symbol}" if place.symbol else where)


def _made_by_the_writer(summary: Summary) -> bool:
    """Whether the exception only stands for the bugcheck: Windows records one in the header of every dump."""
    exception, report = summary.exception, summary.bugcheck
    if exception is None or report is None or raised(report.code, report.parameters):
        return False
    return exception.code == _BREAKPOINT


def _stack(summary: Summary) -> Iterator[str]:
    """The frames, innermost first; one that is not certain has a question mark."""
    if summary.stack:
        scanned = sum(frame.found is Found.SCAN for frame in summary.stack)
        derived = sum(frame.behind_scan for frame in summary.stack if frame.found is not Found.SCAN)
        head = f"stack, {len(summary.stack)} frames"
        head += f", {scanned} of them by a scan" if scanned else ""
        yield styled(head + (f", {derived} derived from these" if derived else ""), bold=True)
        yield from _frames(summary, summary.stack, STACK_LINES)
    crashed = summary.system.get("thread_id")
    others = [one for one in summary.threads if one.thread_id != crashed]
    if summary.bugcheck:  # of hundreds, those first that a driver outside the system's core is on
        others.sort(key=lambda one: not any(_is_drivers(frame) for frame in one.stack))
    for thread in others[:THREADS]:
        of = f" of {printable(thread.name)}" if thread.name else ""
        yield styled(f"thread {thread.thread_id:#x}{of}", bold=True)
        yield from _frames(summary, thread.stack, THREAD_LINES)
    if len(summary.threads) > THREADS + 1:
        yield f"  ... {len(summary.threads) - THREADS - 1} more threads; --json has them all"
    if summary.bugcheck and base_code(summary.bugcheck.code) not in HANGS:
        return
    for processor in summary.processors[:PROCESSORS]:
        yield styled(f"processor {processor.number}", bold=True)
        yield from _frames(summary, processor.stack, PROCESSOR_LINES)
    if len(summary.processors) > PROCESSORS:
        yield f"  ... {len(summary.processors) - PROCESSORS} more processors; --json has them all"


def _is_drivers(frame: StackFrame) -> bool:
    module = frame.place.module
    return module is not None and not is_core(module)


def _digits(summary: Summary) -> int:
    """Hexadecimal digits of a word of the machine."""
    return 8 if summary.arch == "x86" else 16


def _frames(summary: Summary, frames: tuple[StackFrame, ...], limit: int) -> Iterator[str]:
    for frame in frames[:limit]:
        mark = " " if frame.exact else "?"
        yield f"  {frame.sp:0{_digits(summary)}x} {mark} {place_text(frame.place)}  ({frame.found.value})"
    if len(frames) > limit:
        yield f"  ... {len(frames) - limit} more; --json has them all"


def page(summary: Summary) -> Iterator[str]:
    """The page's lines."""
    system = ", ".join(
        f"{label} {value}"
        for name, label in _SYSTEM.items()
        if (value := summary.system.get(name)) not in (None, "")
    )
    if (up_time := summary.system.get("uptime_s")) is not None:
        system += f", up {up_time:.1f} s"
    kind = summary.type if summary.type.endswith(("dump", "kernel")) else f"{summary.type} dump"
    yield f"{styled(kind, bold=True)}, {summary.arch}: {printable(system)}"
    if summary.bugcheck:
        head = f"{summary.bugcheck.code:#010x} {summary.bugcheck.name}"
        values = ", ".join(f"{value:#x}" for value in summary.bugcheck.parameters)
        yield f"{styled(head, 'red', bold=True)} ({values})"
        yield f"  {summary.bugcheck.explanation}"
    if summary.exception and not _made_by_the_writer(summary):
        words = exception_name(summary.exception.code)
        did = cause(summary.exception.code, summary.exception.parameters)
        if summary.bugcheck and did in summary.bugcheck.explanation:
            did = ""
        shown = f"{summary.exception.code:#010x}{f' ({words})' if words else ''}"
        if summary.bugcheck is None:
            shown = styled(shown, "red", bold=True)
        yield f"exception   {shown}{f': the code {did}' if did else ''}"
    if summary.fault:
        where = styled(place_text(summary.fault), "yellow")
        guess = ", by a scan: a guess" if summary.guessed else ""
        yield f"fault       {where}  (from the {summary.fault_source}{guess})"
        for frame in summary.fault.frames[1:]:
            inner = printable(f"{frame.function} ({frame.file}:{frame.line})")
            yield f"              inlined into {inner}"
    if summary.bugcheck or not summary.processors:  # a kernel that was only halted has not crashed
        yield f"signature   {dump_signature(summary)}"
    width = _digits(summary)
    names = [name for name in (*_NAMES, *_ARM_NAMES, *_X86_NAMES) if name in summary.registers]
    for start in range(0, len(names), _ROW):
        row = names[start : start + _ROW]
        yield "  " + "  ".join(f"{name:>3} {summary.registers[name]:0{width}x}" for name in row)
    yield from _stack(summary)
    if summary.facts is not NOTHING:
        from harness.dumps.facts_text import fact_lines

        yield from fact_lines(summary.facts)
    if summary.modules:
        yield f"modules     {len(summary.modules)} loaded, {len(summary.unloaded)} unloaded"
    for module in summary.unloaded:
        yield f"  unloaded {module.base:016x} {printable(module.name)}"
    if summary.truncated:
        yield styled("truncated   the dump is not complete", "red")
    for warning in summary.warnings:
        yield f"{styled('warning', 'yellow')}     {printable(warning)}"
