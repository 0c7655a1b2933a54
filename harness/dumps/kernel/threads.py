"""Threads that do not run: where each left its stack when the scheduler took the processor from it.

A thread's KernelStack points to what the context switch pushed (KSWITCH_FRAME), whose last word is the return
address. The offset of KernelStack is in the debugger data block; the frame and the lists of processes and
threads need the kernel's PDB. Without it a stack is scanned.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.dumps.facts import BlockedThread
from harness.dumps.kernel.view import KernelView

MAX_PROCESSES, MAX_THREADS = 1024, 4096
_KERNEL = 1 << 63
_ACTIVE_PROCESSES, _KERNEL_STACK = 0x50, 0x29C
_WAITING = 5
_NAME_BYTES = 15


def thread_at(view: KernelView, address: int, name: str = "") -> BlockedThread | None:
    """A thread by its address; None where its stack pointer is not in the dump."""
    offset = (view.pdb.member("_KTHREAD", "KernelStack") if view.pdb else None) or view.debugger_word(
        _KERNEL_STACK, 2
    )
    stack = view.number(address + offset) if offset else None
    if not stack or stack < _KERNEL or stack & 7:
        return None
    pdb = view.pdb
    returns, base = (pdb.member("_KSWITCH_FRAME", one) if pdb else None for one in ("Return", "Rbp"))
    if returns is None or base is None:
        view.need("unwound stacks of threads that do not run")
        return BlockedThread(address, name, stack, {})
    rip, rbp = view.number(stack + returns), view.number(stack + base)
    if rip is None or rbp is None:
        return BlockedThread(address, name, stack, {})
    return BlockedThread(address, name, stack, {"rip": rip, "rsp": stack + returns + 8, "rbp": rbp})


def blocked_threads(view: KernelView) -> Iterator[BlockedThread]:
    """Every thread that waits, by process. It needs the kernel's PDB."""
    pdb = view.pdb
    places = [
        pdb.member(*one) if pdb else None
        for one in (
            ("_EPROCESS", "ActiveProcessLinks"),
            ("_EPROCESS", "ThreadListHead"),
            ("_EPROCESS", "ImageFileName"),
            ("_ETHREAD", "ThreadListEntry"),
            ("_KTHREAD", "State"),
        )
    ]
    links, heads, names, entry, state = (place or 0 for place in places)
    if None in places:
        view.need("the threads that wait")
        return
    for process in _list(view, view.debugger_word(_ACTIVE_PROCESSES), MAX_PROCESSES):
        name = view.memory.read(process - links + names, _NAME_BYTES).partition(b"\0")[0].decode("latin-1")
        for at in _list(view, process - links + heads, MAX_THREADS):
            if view.number(at - entry + state, 1) == _WAITING and (
                thread := thread_at(view, at - entry, name)
            ):
                yield thread


def _list(view: KernelView, head: int, most: int) -> Iterator[int]:
    """The entries of a LIST_ENTRY, as far as they can be followed."""
    seen = {head, 0}
    at = view.number(head) or 0
    while at not in seen and len(seen) < most:
        seen.add(at)
        yield at
        at = view.number(at) or 0
