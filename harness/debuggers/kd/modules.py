"""The images of a halted kernel, from its own list, as many as a slow line allows.

A Windows kernel has 150 of them, and a serial line of 115,200 baud takes 40 ms for each. There the list is
read from both ends: the kernel is its first entry, and a driver under test is among its last.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

from harness.debuggers.kd.halted import HaltedTarget, Module, RequestRefusedError
from harness.errors import KdError

MODULES_LIMIT = 512
SECONDS = 0.7
SLOW_EXCHANGE_S = 0.008
"""A line on which 8 bytes take as long is slow: reading ends once every wanted address has its image."""
_NAME_LIMIT = 512
_ENTRY_SIZE = 0x68


def loaded_modules(
    target: HaltedTarget,
    head: int,
    wanted: Sequence[int] = (),
    known: Sequence[Module] = (),
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Module], bool]:
    """The images in load order, at most 512, and whether these are all of them.

    Args:
        wanted: addresses whose images matter more than the others.
        known: images that the kernel reported; one that is wanted need not be read.

    Raises:
        KdError: the list's head cannot be read.
    """
    started = clock()
    needed = [one for one in known if any(one.base <= at < one.base + one.size for at in wanted)]
    first = target.read(head, 8)
    if len(first) < 8:
        raise KdError(f"Memory at {head:#x} cannot be read.")
    slow = clock() - started > SLOW_EXCHANGE_S
    following = [int.from_bytes(first, "little"), 0]
    found: list[list[Module]] = [[], []]
    seen = {head}
    open_ends, both = [0], False
    complete = False
    while open_ends and not complete:
        if clock() - started > SECONDS or (slow and _covers([*needed, *found[0], *found[1]], wanted)):
            break
        if slow and not both:
            both = True
            following[1] = int.from_bytes(target.read(head + 8, 8), "little")
            open_ends.append(1)
        for end in tuple(open_ends):
            at = following[end]
            if at in seen:
                complete = True
                break
            entry = _entry(target, at) if at else None
            if entry is None:
                open_ends.remove(end)
                continue
            seen.add(at)
            module, links = entry
            following[end] = links[end]
            found[end].append(module)
            if sum(map(len, found)) >= MODULES_LIMIT:
                return _merged(found, needed), False
    return _merged(found, () if complete else needed), complete


def _entry(target: HaltedTarget, at: int) -> tuple[Module, tuple[int, int]] | None:
    """The image and both links of a KLDR_DATA_TABLE_ENTRY; None when it cannot be read."""
    try:
        entry = target.read(at, _ENTRY_SIZE)
        if len(entry) < _ENTRY_SIZE:
            return None
        forward, backward = struct.unpack_from("<QQ", entry)
        base, size = struct.unpack_from("<Q8xI", entry, 0x30)
        length, name = struct.unpack_from("<H6xQ", entry, 0x48)
        path = target.read(name, min(length, _NAME_LIMIT)).decode("utf-16-le", "replace")
    except RequestRefusedError:
        return None
    return Module(path, base, size), (forward, backward)


def _covers(modules: Sequence[Module], wanted: Sequence[int]) -> bool:
    return all(any(module.base <= one < module.base + module.size for module in modules) for one in wanted)


def _merged(found: list[list[Module]], known: Sequence[Module]) -> list[Module]:
    read = [*found[0], *reversed(found[1])]
    bases = {module.base for module in read}
    return [*read, *(module for module in known if module.base not in bases)]
