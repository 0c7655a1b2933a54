"""Makes cases for the devices and control codes of a driver, from a seed: valid, boundary and wrong ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.fuzz.case import THREADS, Case, Operation

INTERESTING = (
    *(0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 511, 512, 1000, 1024, 4095, 4096),
    *(0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFC, 0xFFFFFFFF),
    *(0x20000000, 0x40000000, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF),
)
LENGTHS = (0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 20, 24, 32, 40, 48, 64, 100, 128, 256, 512, 1024, 4096, 65536)
LEARNT = 512
"""Values that are remembered of what the driver compared."""
METHOD = 3
"""Bits of a control code that say how its buffers are passed."""


@dataclass
class Target:
    """One device: its object path and the control codes that it may know."""

    device: str
    codes: list[int] = field(default_factory=list)


def targets_of(document: Sequence[dict[str, Any]]) -> list[Target]:
    """The host's list of targets."""
    return [Target(str(one["device"]), [int(code) for code in one.get("codes", ())]) for one in document]


class Generator:
    """Random cases.

    Args:
        sizes: of the contract's structures, in bytes: likely lengths.

    Attributes:
        values: integers that the driver was seen to compare something with.
    """

    def __init__(self, source: random.Random, targets: Sequence[Target], sizes: Sequence[int] = ()) -> None:
        self.random = source
        self.targets = targets
        self.values: list[int] = []
        known = [size for size in sizes if size <= 65536]
        self._lengths = (*LENGTHS, *known, *known)

    def learn(self, value: int) -> None:
        """Remembers a value that the driver compares with."""
        if value in self.values:
            return
        if len(self.values) < LEARNT:
            self.values.append(value)
        else:
            self.values[self.random.randrange(LEARNT)] = value

    def case(self) -> Case:
        """A new case: a device is opened, a few operations follow, perhaps a race at the end."""
        choose = self.random
        target = choose.choice(self.targets)
        case: Case = [{"op": "open", "on": 0, "device": target.device}]
        if choose.random() < 0.1:
            other = target if choose.random() < 0.7 else choose.choice(self.targets)
            case.append({"op": "open", "on": 1, "device": other.device})
        for _ in range(1 + min(7, int(choose.expovariate(0.4)))):
            case.append(self.operation(target, choose.randrange(min(2, len(case)))))
        if choose.random() < 0.06:
            self.raced(case, target)
        return case

    def raced(self, case: Case, target: Target) -> None:
        """Adds operations that run at the same time: requests, and perhaps a close or a cancellation."""
        choose = self.random
        for thread in range(1, choose.randrange(3, THREADS + 1)):
            for _ in range(choose.randrange(1, 3)):
                case.append({**self.operation(target, 0), "thread": thread})
        if choose.random() < 0.6:
            case.append({"op": choose.choice(("close", "cancel")), "on": 0, "thread": 1})

    def operation(self, target: Target, slot: int) -> Operation:
        """One operation on an open device."""
        choose, kind = self.random, self.random.random()
        if kind < 0.86 and target.codes:
            return self._ioctl(target, slot)
        if kind < 0.90:
            return {"op": "write", "on": slot, **self.input()}
        if kind < 0.94:
            return {"op": "read", "on": slot, "out": self.length()}
        if kind < 0.97:
            return {"op": choose.choice(("cancel", "wait")), "on": slot}
        if kind < 0.985 or not target.codes:
            return {"op": "close", "on": slot}
        return {"op": "open", "on": slot, "device": target.device}

    def _ioctl(self, target: Target, slot: int) -> Operation:
        choose = self.random
        made: Operation = {"op": "ioctl", "on": slot, "code": choose.choice(target.codes)}
        if choose.random() < 0.02:
            made["code"] ^= choose.randrange(1, METHOD + 1)
        elif choose.random() < 0.01:
            made["code"] = (made["code"] + 4 * choose.randrange(-16, 17)) & 0xFFFFFFFF
        made.update(self.input())
        made["out"] = self.length()
        if choose.random() < 0.04:
            made["into"] = choose.choice(("null", "freed", "kernel", "same"))
        if choose.random() < 0.03:
            made["from"] = choose.choice(("null", "freed", "kernel"))
        return made

    def input(self) -> Operation:
        """Bytes of an input and, if zeros follow them, its length."""
        length = self.length()
        if length > 64 and self.random.random() < 0.9:
            return {"in": self.data(32).hex(), "length": length}
        return {"in": self.data(min(length, 4096)).hex()}

    def length(self) -> int:
        """Of a buffer."""
        choose = self.random
        if choose.random() < 0.1:
            return choose.randrange(0, 80)
        length = choose.choice(self._lengths)
        return max(0, length + choose.choice((-1, 1))) if choose.random() < 0.1 else length

    def data(self, length: int) -> bytes:
        """Bytes: zeros, noise, or integers of 4 bytes that are interesting, small or were learnt."""
        kind = self.random.random()
        if kind < 0.1:
            return bytes(length)
        if kind < 0.25:
            return self.random.randbytes(length)
        words = (self.value() & 0xFFFFFFFF for _ in range(-(-length // 4)))
        return b"".join(word.to_bytes(4, "little") for word in words)[:length]

    def value(self) -> int:
        """An integer that may matter to the driver."""
        choose = self.random
        if self.values and choose.random() < 0.3:
            return max(0, choose.choice(self.values) + choose.choice((0, 0, 0, -1, 1)))
        if choose.random() < 0.3:
            return choose.randrange(0, 16)
        return choose.choice(INTERESTING)
