"""Makes a case small: how many of the last cases a crash needs, which operations, how much input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.deadline import Deadline
from harness.fuzz.corpus import MOST_OPERATIONS, Operation, Operations
from harness.reproduce.minimise import reduced

Crashes = Callable[[Operations], bool]
BACK = (1, 2, 3, 5, 8, 24)
"""How many of the last cases are tried together, one after another, until they crash."""
HALVINGS = 6
"""How often an input is halved at most."""


def sufficient(last: Sequence[Operations], crashes: Crashes) -> Operations | None:
    """The fewest of the newest cases that crash together; None if none of the tried ones do."""
    tried: set[Operations] = set()
    for count in BACK:
        joined = join(last[-count:])
        if joined and joined not in tried:
            tried.add(joined)
            if crashes(joined):
                return joined
    return None


def join(cases: Sequence[Operations]) -> Operations:
    """The cases as one, each with its handles closed behind it; the newest that fit."""
    joined: Operations = ()
    for case in reversed(cases):
        slots = sorted({one.on for one in case if one.op == "open"})
        closing = tuple(Operation(op="close", on=slot) for slot in slots) if joined else ()
        if len(case) + len(closing) + len(joined) > MOST_OPERATIONS:
            break
        joined = (*case, *closing, *joined)
    return joined


def minimised(case: Operations, crashes: Crashes, deadline: Deadline) -> Operations:
    """A smaller case that crashes: no operation can be left out, inputs are as short and plain as tried.

    At the deadline, what was reached so far.

    Args:
        case: one that crashes.
    """

    def holds(operations: Sequence[Operation]) -> bool:
        return bool(operations) and not deadline.expired and crashes(tuple(operations))

    kept = tuple(reduced(case, holds))
    for at in range(len(kept)):
        for change in simpler(kept[at]):
            if deadline.expired:
                return kept
            if change(kept[at]) != kept[at] and holds((*kept[:at], change(kept[at]), *kept[at + 1 :])):
                kept = (*kept[:at], change(kept[at]), *kept[at + 1 :])
    return kept


def simpler(operation: Operation) -> list[Callable[[Operation], Operation]]:
    """Changes that make an operation plainer, the greatest first."""

    def change(**values: object) -> Callable[[Operation], Operation]:
        return lambda one: one.model_copy(update=values)

    changes = []
    if operation.thread:
        changes.append(change(thread=0))
    if operation.source != "own":
        changes.append(change(source="own"))
    if operation.into != "own":
        changes.append(change(into="own"))
    if operation.out:
        changes.append(change(out=0))
    if operation.length or operation.given:
        changes.append(change(length=0, given=""))
        changes.append(change(length=0))
        changes += [_halved] * HALVINGS
    changes += [_zeroed(start) for start in range(0, min(len(operation.given), 128), 8)]
    return changes


def _halved(one: Operation) -> Operation:
    return one.model_copy(update={"given": one.given[: len(one.given) // 4 * 2]})


def _zeroed(start: int) -> Callable[[Operation], Operation]:
    """Four bytes of the input as zeros, from a place in its hexadecimal text on."""

    def change(one: Operation) -> Operation:
        part = one.given[start : start + 8]
        given = one.given[:start] + "0" * len(part) + one.given[start + len(part) :]
        return one.model_copy(update={"given": given})

    return change
