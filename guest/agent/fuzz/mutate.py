"""Changes cases: at random, and by putting what the driver compared an input with in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.fuzz.case import DATA_LIMIT, LENGTH_LIMIT, MOST, THREADS, Case, Operation, input_of
from agent.fuzz.generate import Generator, Target

VARIANTS = 96
"""Variants of one case that `substituted` gives at most."""
TRANSFERS = ("ioctl", "write", "read")


class Mutator:
    """Random changes of cases."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._random = generator.random

    def changed(self, case: Case, other: Case) -> Case:
        """A case with one to four changes; some take a part of the other case."""
        made = [dict(one) for one in case]
        for _ in range(1 + min(3, int(self._random.expovariate(1.0)))):
            self._change(made, other)
        return made[:MOST] or [dict(one) for one in case]

    def _change(self, case: Case, other: Case) -> None:
        choose, kind = self._random, self._random.random()
        transfers = [one for one in case if one["op"] in TRANSFERS]
        if kind < 0.5 and transfers:
            self._change_operation(choose.choice(transfers))
        elif kind < 0.65:
            at = choose.randrange(1, len(case) + 1)
            slot = choose.choice(case).get("on", 0)
            case.insert(at, self._generator.operation(self._target(case), slot))
        elif kind < 0.75 and len(case) > 2:
            del case[choose.randrange(1, len(case))]
        elif kind < 0.82:
            at = choose.randrange(1, len(case) + 1)
            case.insert(at, dict(choose.choice(case)))
        elif kind < 0.92:
            self._join(case, other)
        elif kind < 0.96:
            self._generator.raced(case, self._target(case))
        elif len(case) > 2:
            one, two = choose.randrange(1, len(case)), choose.randrange(1, len(case))
            case[one], case[two] = case[two], case[one]

    def _join(self, case: Case, other: Case) -> None:
        """Operations of the other case, on this one's handles; whole if it uses another device."""
        same = case[0].get("device") == other[0].get("device")
        added = [dict(one) for one in (other[1:] if same else other)]
        if not added:
            return
        begin = self._random.randrange(len(added)) if same else 0
        at = self._random.randrange(1, len(case) + 1)
        case[at:at] = added[begin : begin + self._random.randrange(1, len(added) + 1)]

    def _target(self, case: Case) -> Target:
        devices = {one.get("device") for one in case}
        known = [target for target in self._generator.targets if target.device in devices]
        return self._random.choice(known or list(self._generator.targets))

    def _change_operation(self, one: Operation) -> None:
        choose, generator, kind = self._random, self._generator, self._random.random()
        if kind < 0.2 and one["op"] != "write":
            one["out"] = generator.length()
        elif kind < 0.3:
            one["length"] = generator.length()
        elif kind < 0.38:
            one.pop("length", None)
            one.update(generator.input())
        elif kind < 0.42:
            one["thread"] = choose.randrange(THREADS)
        elif kind < 0.46 and one["op"] == "ioctl":
            one["into"] = choose.choice(("own", "null", "freed", "kernel", "same"))
        elif kind < 0.50 and one["op"] == "ioctl" and (codes := self._target([one]).codes):
            one["code"] = choose.choice(codes)
        elif one["op"] != "read":
            one["in"] = self._changed_bytes(bytes.fromhex(one.get("in", ""))).hex()

    def _changed_bytes(self, data: bytes) -> bytes:
        choose, made = self._random, bytearray(data)
        if not made or choose.random() < 0.15:
            more = self._generator.data(choose.choice((1, 4, 8)))
            return bytes(made + more)[:DATA_LIMIT]
        at = choose.randrange(len(made))
        kind = choose.random()
        if kind < 0.25:
            made[at] ^= 1 << choose.randrange(8)
        elif kind < 0.4:
            made[at] = choose.randrange(256)
        elif kind < 0.5:
            return bytes(made[:at])
        else:
            width = choose.choice((1, 2, 4, 4, 4, 8))
            at -= at % width
            value = self._generator.value() & ((1 << 8 * width) - 1)
            made[at : at + width] = value.to_bytes(width, "little")[: len(made) - at]
        return bytes(made)


def substituted(case: Case, compared: Sequence[tuple[int, int]]) -> Iterator[Case]:
    """The case with one side of a comparison in place of the other, where an operation holds that one.

    What the driver compared came from a code, a length or bytes of an input; a width of 1, 2, 4 or 8 bytes
    is tried where the integer fits into it. At most `VARIANTS` cases.
    """
    given = 0
    for one, two in compared:
        for had, wanted in ((one, two), (two, one)):
            for at, operation in enumerate(case):
                for change in _changes(operation, had, wanted):
                    if given >= VARIANTS:
                        return
                    given += 1
                    yield [dict(each) if number != at else change for number, each in enumerate(case)]


def _changes(operation: Operation, had: int, wanted: int) -> Iterator[Operation]:
    if operation["op"] not in TRANSFERS:
        return
    if operation["op"] == "ioctl" and operation.get("code") == had and wanted <= 0xFFFFFFFF:
        yield {**operation, "code": wanted}
    data = bytes.fromhex(operation.get("in", ""))
    for near in (wanted, wanted + 1, max(0, wanted - 1)):
        if len(input_of(operation)) == had and near <= LENGTH_LIMIT:
            yield {**operation, "in": data[:near].hex(), "length": near}
        if operation.get("out", 0) == had and operation["op"] != "write" and near <= LENGTH_LIMIT:
            yield {**operation, "out": near}
    if had in (0, 1) or not data:  # too many places hold these
        return
    for width in (1, 2, 4, 8):
        if max(had, wanted) >> 8 * width:
            continue
        pattern, at = had.to_bytes(width, "little"), -1
        while (at := data.find(pattern, at + 1)) >= 0:
            for near in (wanted, wanted + 1, wanted - 1):
                put = (near & ((1 << 8 * width) - 1)).to_bytes(width, "little")
                yield {**operation, "in": (data[:at] + put + data[at + width :]).hex()}
        break
