"""Looks into a crashed kernel for what its bugcheck's parameters, and its own buffers, lead to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.dumps.bugcheck import HANGS, base_code
from harness.dumps.bugcheck_table import Parameter, find
from harness.dumps.facts import BlockedThread, Irp, KernelFacts, NamedText, PoolBlock, SecondaryData
from harness.dumps.kernel.view import KernelView

if TYPE_CHECKING:
    from pathlib import Path

    from harness.dumps.attribution import Files
    from harness.dumps.pdb import PdbIdentity
    from harness.dumps.summary import Module, VirtualMemory

Pdbs = Callable[["PdbIdentity"], "Path | None"]
"""Finds the PDB of an image."""
MAX_FOUND = 4
MAX_THREADS = 256
KERNELS = frozenset({"ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe"})
_KERN_BASE = 0x18
_KERNEL = 1 << 63
_POOL_ROLES = frozenset({"touched", "va", "object", "irp", "mdl", "device", "driver"})


def view_of(
    memory: VirtualMemory, block: bytes, modules: Sequence[Module], files: Files, pdbs: Pdbs | None
) -> KernelView:
    """A view of the kernel among `modules`, with its PDB if that is at hand."""
    base = int.from_bytes(block[_KERN_BASE : _KERN_BASE + 8], "little")
    kernel = next((one for one in modules if one.base == base or one.name.lower() in KERNELS), None)
    if kernel is None:
        return KernelView(memory, block, base, None)
    if pdbs is None:
        return KernelView(memory, block, kernel.base, None)
    from harness.dumps.image import Image
    from harness.dumps.kernel.nt_pdb import NtPdb

    identity = kernel.pdb or Image(memory, kernel.base, files(kernel)).pdb()
    path = pdbs(identity) if identity else None
    return KernelView(memory, block, kernel.base, NtPdb(path) if path else None)


def threads_that_matter(
    view: KernelView, code: int, parameters: Sequence[int], most: int = MAX_THREADS
) -> Iterator[BlockedThread]:
    """Threads that parameters of the bugcheck name; for a hang, every thread that waits, at most `most`."""
    known = find(code, parameters).parameters
    named = [
        value
        for parameter, value in zip(known, parameters, strict=False)
        if parameter.role == "thread" and value >= _KERNEL
    ]
    hang = base_code(code) in HANGS
    if not named and not hang:
        return
    from harness.dumps.kernel.threads import blocked_threads, thread_at

    for address in named:
        if thread := thread_at(view, address):
            yield thread
    waiting = blocked_threads(view) if hang else iter(())
    yield from (thread for thread in itertools.islice(waiting, most) if thread.address not in named)


def kernel_facts(
    view: KernelView,
    code: int,
    parameters: Sequence[int],
    *,
    driver: str = "",
    secondary: tuple[SecondaryData, ...] = (),
    output_bytes: int | None = None,
) -> KernelFacts:
    """What the structures tell.

    Args:
        driver: name of the broken driver, where a small dump has it.
        secondary: of a small dump.
        output_bytes: how much of the DbgPrint buffer's end is read; all of it by default.
    """
    known = find(code, parameters).parameters
    addresses = [
        (parameter.role, value)
        for parameter, value in zip(known, parameters, strict=False)
        if value >= _KERNEL and parameter.role in _POOL_ROLES
    ]
    # The buffer is the most to read, and comes last: a halted kernel may answer slowly.
    driver = driver or _bugcheck_driver(view)
    irps = _irps(view, [value for role, value in addresses if role == "irp"])
    pool = _pool(view, [value for _, value in addresses])
    texts = _texts(view, known, parameters)
    output: tuple[str, ...] = ()
    if view.block:
        from harness.dumps.kernel.dbgprint import debug_output

        output = debug_output(view, output_bytes)
    return KernelFacts(
        debug_output=output,
        driver=driver,
        irps=irps,
        pool=pool,
        secondary=secondary,
        needs_symbols=tuple(view.needs),
        texts=texts,
    )


def _texts(view: KernelView, known: Sequence[Parameter], parameters: Sequence[int]) -> tuple[NamedText, ...]:
    found = []
    for number, (parameter, value) in enumerate(zip(known, parameters, strict=False), 1):
        if parameter.role == "text" and value >= _KERNEL:
            from harness.dumps.kernel.named_text import text_at

            if text := text_at(view, value):
                found.append(NamedText(number, text))
    return tuple(found)


def _bugcheck_driver(view: KernelView) -> str:
    """What KiBugCheckDriver names: the driver that the kernel itself blames."""
    at = view.variable("KiBugCheckDriver")
    if at is None:
        if view.pdb is None:  # a kernel whose PDB is at hand, and does not have it, names no driver
            view.need("KiBugCheckDriver")
        return ""
    return view.unicode_string(view.number(at) or 0)


def _irps(view: KernelView, addresses: Sequence[int]) -> tuple[Irp, ...]:
    if not addresses:
        return ()
    from harness.dumps.kernel.irp import read_irp

    found = (read_irp(view, address) for address in addresses[:MAX_FOUND])
    return tuple(irp for irp in found if irp is not None)


def _pool(view: KernelView, addresses: Sequence[int]) -> tuple[PoolBlock, ...]:
    if not addresses:
        return ()
    from harness.dumps.kernel.pool import pool_block

    found = (pool_block(view, address) for address in addresses[:MAX_FOUND])
    blocks = {block.start: block for block in found if block is not None}
    return tuple(blocks.values())
