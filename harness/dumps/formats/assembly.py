"""Puts a summary together: walks the stacks, finds the place to blame, reads PDB identities."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harness.dumps import bugcheck, cpu
from harness.dumps.attribution import AddressMap, Files, blamed, no_files
from harness.dumps.facts import NOTHING, BlockedThread, KernelFacts
from harness.dumps.formats.processors import processor_stacks
from harness.dumps.record import record
from harness.dumps.summary import (
    BugcheckReport,
    ExceptionRecord,
    Found,
    Module,
    Place,
    StackFrame,
    Summary,
    ThreadStack,
    VirtualMemory,
)
from harness.dumps.unwind.walk import MAX_FRAMES, MAX_SCANS, StackWalk

MAX_WARNINGS = 64
MAX_THREAD_FRAMES = 64
MAX_ALL_FRAMES, MAX_ALL_SCANS = 8192, 4096
"""Frames of all threads together, and how many of them a scan may find."""


@record
class Body:
    """What a dump, or a halted kernel, holds besides the state of the crash.

    stack: an address on the stack, where no registers tell one.
    debugger_data: KDDEBUGGER_DATA64; empty when it is not at hand.
    block: the same, also of a small dump, which holds no processor's state.
    threads: number and registers of each thread of a user dump.
    blocked: threads of a kernel that do not run.
    facts: what the kernel's structures tell.
    """

    memory: VirtualMemory
    modules: list[Module]
    unloaded: list[Module]
    system: dict[str, Any]
    stack: int | None = None
    truncated: bool = False
    debugger_data: bytes = b""
    block: bytes = b""
    threads: Sequence[tuple[int, dict[str, int]]] = ()
    blocked: Sequence[BlockedThread] = ()
    facts: KernelFacts = NOTHING


def assemble(
    *,
    kind: str,
    arch: str,
    machine: int,
    files: Files,
    system: dict[str, Any],
    report: BugcheckReport | None,
    exception: ExceptionRecord | None,
    registers: dict[str, int],
    candidates: tuple[tuple[int | None, str], ...],
    body: Body,
    driver: str,
    truncated: bool,
    warnings: list[str],
    slow: bool = False,
    max_frames: int = MAX_FRAMES,
    max_scans: int = MAX_SCANS,
) -> Summary:
    """The stacks, the place to blame, and everything that was given.

    Args:
        candidates: addresses of the fault with their sources, the most telling first.
        slow: memory is far away: nothing is read but what the stacks need.
        max_frames: of the crashed stack; max_scans: words on it that may stand for frames.
    """
    addresses = AddressMap(body.modules, body.unloaded, body.memory, machine, files, slow=slow)
    walk = StackWalk(addresses, body.memory, machine)
    stack = walk.walk(registers, max_frames=max_frames, max_scans=max_scans)
    pointer = cpu.stack_pointer(registers)
    words = addresses.scan(pointer) if pointer and not slow else []
    if not words and body.stack:
        words = addresses.scan(body.stack)
        stack += walk.scan(body.stack)
    count = system.get("processors") or 0
    processors = processor_stacks(body.debugger_data, body.memory, walk, count, machine)
    site, source = _site(addresses, candidates)
    place, by_stack = blamed(site, _witnesses(addresses, report, stack, driver), driver)
    threads = list(_thread_stacks(walk, body))
    frames = itertools.chain(
        stack, *(processor.stack for processor in processors), *(thread.stack for thread in threads)
    )
    places = [frame.place for frame in frames]
    # Where reading is slow and no symbols are at hand, only the culprit's PDB will be asked for later.
    named = (place,) if slow and files is no_files else (place, *places)
    if len(warnings) > MAX_WARNINGS:
        warnings[MAX_WARNINGS:] = [f"{len(warnings) - MAX_WARNINGS} more warnings."]
    return Summary(
        type=kind,
        arch=arch,
        system=system,
        bugcheck=report,
        exception=exception,
        registers=registers,
        fault=place,
        fault_source="stack" if by_stack else source,
        modules=tuple(with_pdbs(body.modules, addresses, named)),
        unloaded=tuple(body.unloaded),
        stack=tuple(stack),
        words=tuple(words),
        processors=tuple(processors),
        threads=tuple(threads),
        facts=body.facts,
        returned_to=_overwritten_return(addresses, stack) if machine == cpu.X64 and report is None else 0,
        truncated=truncated,
        warnings=tuple(warnings),
    )


def _witnesses(
    addresses: AddressMap, report: BugcheckReport | None, stack: Sequence[StackFrame], driver: str
) -> Sequence[StackFrame]:
    """The frames that may be blamed for the crash."""
    if report is None:
        return stack
    if bugcheck.was_asked_for(report.code):
        from harness.dumps.bugcheck_caller import caller

        frame = caller(addresses, stack, driver)
        return (frame,) if frame else ()
    return stack if bugcheck.blames_stack(report.code) else ()


def _overwritten_return(addresses: AddressMap, stack: Sequence[StackFrame]) -> int:
    """The instruction pointer, if it leads to no module and no call led there.

    A call or a jump through a bad pointer leaves the caller's return address on top of the stack.
    """
    if not stack or not stack[0].place.address or addresses.place(stack[0].place.address).module is not None:
        return 0
    return 0 if len(stack) > 1 and stack[1].found is Found.LEAF else stack[0].place.address


def _thread_stacks(walk: StackWalk, body: Body) -> Iterator[ThreadStack]:
    """The stacks of a user dump's threads, or of a kernel's threads that do not run."""
    frames, scans = MAX_ALL_FRAMES, MAX_ALL_SCANS
    for number, state in body.threads:
        stack = walk.walk(state, max_frames=min(frames, MAX_THREAD_FRAMES), max_scans=min(scans, MAX_SCANS))
        frames -= len(stack)
        scans -= sum(frame.found is Found.SCAN for frame in stack)
        yield ThreadStack(number, state, tuple(stack))
    for thread in body.blocked:
        stack = blocked_stack(
            walk, thread, max_frames=min(frames, MAX_THREAD_FRAMES), max_scans=min(scans, MAX_SCANS)
        )
        frames -= len(stack)
        scans -= sum(frame.found is Found.SCAN for frame in stack)
        yield ThreadStack(thread.address, thread.registers, tuple(stack), thread.name)


def blocked_stack(
    walk: StackWalk, thread: BlockedThread, *, max_frames: int = MAX_THREAD_FRAMES, max_scans: int = MAX_SCANS
) -> list[StackFrame]:
    """The frames of a thread that does not run, innermost first."""
    if thread.registers:
        return walk.walk(thread.registers, max_frames=max_frames, max_scans=max_scans)
    return walk.scan(thread.stack_pointer, max_scans=max_scans)[:max_frames]


def _site(addresses: AddressMap, candidates: tuple[tuple[int | None, str], ...]) -> tuple[Place | None, str]:
    """The first candidate that lies in a module; if there is none, the first candidate."""
    places = [(addresses.place(address), source) for address, source in candidates if address]
    for place, source in places:
        if place.module:
            return place, source
    return places[0] if places else (None, "")


def with_pdbs(
    modules: Sequence[Module], addresses: AddressMap, places: Iterable[Place | None]
) -> Iterator[Module]:
    """The modules; those of `places` with the PDB identity from their images."""
    named = {place.module for place in places if place}
    for module in modules:
        if module.name in named and module.pdb is None:
            yield Module(**{**vars(module), "pdb": addresses.image(module).pdb()})
        else:
            yield module
