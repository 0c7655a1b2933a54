"""Cuts operations to a shortest sequence that still crashes: delta debugging by complements (Zeller's ddmin).

What a trial costs decides the order: one that crashes costs a restored guest, one that does not far less. So
whole handles go first, then long runs of operations, then single ones until none can be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from harness.reproduce.operations import Operation, closed

T = TypeVar("T")
Crashes = Callable[[Sequence[Operation]], bool]
SHRINK = 4
"""How much shorter the runs are in each sweep."""


def minimise(operations: Sequence[Operation], crashes: Crashes) -> list[Operation]:
    """A sequence that crashes, in its order, none of whose operations can be left out alone.

    Args:
        operations: a sequence that crashes.
        crashes: tries another one.
    """

    def holds(left: list[Operation]) -> bool:
        return bool(left) and crashes(left)

    def on(openings: list[Operation]) -> list[Operation]:
        opened = {opening.opens for opening in openings}
        return closed(one for one in operations if one.opens is None or one.opens in opened)

    openings = [operation for operation in operations if operation.opens is not None]
    needed = reduced(openings, lambda left: holds(on(left)))
    return reduced(on(needed), holds, closed)


def reduced(
    units: Sequence[T],
    holds: Callable[[list[T]], bool],
    settle: Callable[[list[T]], list[T]] = list,
) -> list[T]:
    """Units without which `holds` is false, one by one; `settle` drops what a removal has made useless."""
    kept, length = list(units), len(units) // 2
    while length > 1:
        position = 0
        while position < len(kept):
            candidate = settle(kept[:position] + kept[position + length :])
            if holds(candidate):
                kept = candidate
            else:
                position += length
        length //= SHRINK
    position = failures = 0
    while failures < len(kept):
        position %= len(kept)
        candidate = settle(kept[:position] + kept[position + 1 :])
        if holds(candidate):
            kept, failures = candidate, 0
        else:
            position, failures = position + 1, failures + 1
    return kept
