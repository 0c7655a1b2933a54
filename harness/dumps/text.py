"""A dump's summary as a page for a person. Text from the dump is escaped; colours are click's to drop."""

from __future__ import annotations

from collections.abc import Iterator

import click

from harness.display.terminal import printable
from harness.dumps.exceptions import cause, exception_name
from harness.dumps.signature import dump_signature
from harness.dumps.summary import Place, Summary

STACK_LINES = 24
_ROW = 4
_SYSTEM = {
    **{"build_lab": "build lab", "build": "build", "processors": "processors", "time": "time"},
    **{"product": "product", "process_id": "process id"},
}
_NAMES = ("rip", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
_ARM_NAMES = ("pc", "sp", "fp", "lr", *(f"x{n}" for n in range(29)))


def place_text(place: Place) -> str:
    """`module+0xoffset function (file:line)`, or the bare address."""
    where = f"{place.module}+{place.offset or 0:#x}" if place.module else f"{place.address:#x}"
    return printable(f"{where}  {place.symbol}" if place.symbol else where)


def page(summary: Summary) -> Iterator[str]:
    """The page's lines."""
    system = ", ".join(
        f"{label} {value}"
        for name, label in _SYSTEM.items()
        if (value := summary.system.get(name)) not in (None, "")
    )
    if (up_time := summary.system.get("uptime_s")) is not None:
        system += f", up {up_time:.1f} s"
    kind = summary.type if summary.type.endswith("dump") else f"{summary.type} dump"
    yield f"{click.style(kind, bold=True)}, {summary.arch}: {printable(system)}"
    if summary.bugcheck:
        head = f"{summary.bugcheck.code:#010x} {summary.bugcheck.name}"
        values = ", ".join(f"{value:#x}" for value in summary.bugcheck.parameters)
        yield f"{click.style(head, fg='red', bold=True)} ({values})"
        yield f"  {summary.bugcheck.explanation}"
    if summary.exception:
        words = exception_name(summary.exception.code)
        did = cause(summary.exception.code, summary.exception.parameters)
        if summary.bugcheck and did in summary.bugcheck.explanation:
            did = ""
        shown = f"{summary.exception.code:#010x}{f' ({words})' if words else ''}"
        yield f"exception   {shown}{f': the code {did}' if did else ''}"
    if summary.fault:
        where = click.style(place_text(summary.fault), fg="yellow")
        yield f"fault       {where}  (from the {summary.fault_source})"
        for frame in summary.fault.frames[1:]:
            inner = printable(f"{frame.function} ({frame.file}:{frame.line})")
            yield f"              inlined into {inner}"
    yield f"signature   {dump_signature(summary)}"
    names = [name for name in (*_NAMES, *_ARM_NAMES) if name in summary.registers]
    for start in range(0, len(names), _ROW):
        row = names[start : start + _ROW]
        yield "  " + "  ".join(f"{name:>3} {summary.registers[name]:016x}" for name in row)
    returns = summary.likely_returns()
    if returns:
        yield click.style(f"stack, {len(returns)} likely return addresses", bold=True)
    for word in returns[:STACK_LINES]:
        mark = " " if word.called else "?"
        yield f"  {word.location:016x} {mark} {place_text(word.place)}"
    if len(returns) > STACK_LINES:
        yield f"  ... {len(returns) - STACK_LINES} more; --json has them all"
    if summary.modules:
        yield f"modules     {len(summary.modules)} loaded, {len(summary.unloaded)} unloaded"
    for module in summary.unloaded:
        yield f"  unloaded {module.base:016x} {printable(module.name)}"
    if summary.truncated:
        yield click.style("truncated   the dump is not whole", fg="red")
    for warning in summary.warnings:
        yield f"{click.style('warning', fg='yellow')}     {printable(warning)}"
