"""What a kernel's structures tell, as lines of `winvm dump`'s page. Text from the dump is escaped."""

from __future__ import annotations

from collections.abc import Iterator

from harness.display.terminal import printable, styled
from harness.dumps.exceptions import status_name
from harness.dumps.facts import Irp, KernelFacts

OUTPUT_LINES = 20
TEXT_LINES = 12


def fact_lines(facts: KernelFacts) -> Iterator[str]:
    """The lines; what needs symbols is named last."""
    if facts.driver:
        yield f"driver      {printable(facts.driver)}  (named by the kernel)"
    for one in facts.texts:
        yield f"text        parameter {one.parameter} leads to '{printable(one.text)}'"
    for irp in facts.irps:
        yield from _irp(irp)
    for block in facts.pool:
        how = "by the headers of its page" if block.walked else "by the header in front of it: a guess"
        state = "" if block.allocated else ", freed"
        yield (
            f"pool        {block.address:#x} lies in a block of {block.size} bytes at {block.start:#x}, "
            f"tag '{printable(block.tag)}'{state}  ({how})"
        )
    if facts.debug_output:
        yield styled(f"debug output, the last {min(OUTPUT_LINES, len(facts.debug_output))} lines", bold=True)
        yield from (f"  {printable(line)}" for line in facts.debug_output[-OUTPUT_LINES:])
    if facts.secondary:
        total = sum(one.size for one in facts.secondary)
        yield styled(f"data that drivers added, {len(facts.secondary)} blocks, {total} bytes", bold=True)
    for added in facts.secondary:
        lines = added.text.splitlines() if added.whole else [added.text] if added.text else []
        known = f", {added.what}" if added.what else ""
        yield f"  {added.tag}  {added.size} bytes{known}" + (
            "" if added.whole or not lines else ", with text:"
        )
        yield from (f"    {printable(line)[:200]}" for line in lines[:TEXT_LINES])
        if len(lines) > TEXT_LINES:
            yield f"    ... {len(lines) - TEXT_LINES} more lines; --json has them"
    if facts.needs_symbols:
        what = ", ".join(facts.needs_symbols)
        yield f"not known   {what}: needs nt symbols (--symbols with the kernel's PDB)"


def _irp(irp: Irp) -> Iterator[str]:
    status = status_name(irp.status) or f"{irp.status:#x}"
    head = f"IRP {irp.address:#x}, stack location {irp.current} of {irp.count}, status {status}"
    yield styled(head, bold=True) + f"  ({irp.layout})"
    for one in reversed(irp.locations):
        mark = ">" if one.current else " "
        owner = " ".join(filter(None, (one.driver, one.device_name)))
        completion = f", completion routine {one.completion:#x}" if one.completion else ""
        device = f" device {one.device:#x}" if one.device else ""
        yield printable(f"  {mark} {one.number:2} {one.function}{device} {owner}{completion}")
