"""Reduces operations to a minimal sequence that crashes: delta debugging by complements (Zeller's ddmin).

The cost of a trial decides the order: a trial that crashes costs a restored guest, any other far less. So
whole handles are removed first, then long runs of operations, then single ones until each is necessary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from harness.reproduce.operations import Operation, closed

T = TypeVar("T")
Crashes = Callable[[Sequence[Operation]], bool]
SHRINK = 4
"""Factor by which the runs get shorter in each sweep."""


def minimise(operations: Sequence[Operation], crashes: Crashes) -> list[Operation]:
    """Finds a subsequence that crashes and from which no single operation can be left out.

    Args:
        operations: a sequence that crashes.
        crashes: tries a sequence; True if it crashes.
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
    """Removes units one by one while `holds` stays true; `settle` drops units that a removal made useless."""
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
