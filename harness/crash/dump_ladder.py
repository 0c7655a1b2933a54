"""The dump of a crashed Windows kernel, by the first rung that brings a valid one.

    guest          the guest has rebooted by itself and hands its MEMORY.DMP over
    offline disk   the machine is off, and the dump is read from its disk: the file, or what it is copied from
    host memory    the host wrote the crashed machine's memory down, before it was powered off for the disk

A product counts when it is a kernel dump that is whole and tells of this crash. A cut one is kept as well,
and taken when no rung brings better. Sources: Windows Internals, 6th ed., part 2 (a dump is in the page file
until the next boot), QEMU docs/system (dump-guest-memory).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.dumps.reader import summarise
from harness.errors import DumpError, WinvmError
from harness.outcome import KernelCrash

NAME = "memory.dmp"
LIVE_DUMP = 0x161
"""LIVE_SYSTEM_DUMP: the bugcheck of a dump that was made from outside, of a guest that had not crashed."""


@dataclasses.dataclass(frozen=True)
class Rung:
    """One way to a dump: `fetch(file, deadline)` writes it, or raises `WinvmError` saying why it cannot."""

    name: str
    seconds: float
    fetch: Callable[[Path, Deadline], object]


@dataclasses.dataclass(frozen=True)
class Climb:
    """What the ladder gave: the `rung` that won and its `file`, or neither.

    notes: why the other rungs gave nothing. cut: the dump is not whole, but no rung brought a better one.
    """

    rung: str
    file: Path | None
    notes: tuple[str, ...]
    cut: bool = False


def climb(
    crash: KernelCrash,
    folder: Path,
    before: Sequence[Rung],
    reserve: Rung | Sequence[Rung],
    after: Sequence[Rung],
    deadline: Deadline,
) -> Climb:
    """Tries the rungs in order of worth; the winner's dump is `memory.dmp` in `folder`.

    Args:
        before: rungs that need the machine as it is, in order.
        reserve: each is fetched when these fail, since those of `after` end the machine; the last to be
            taken.
        after: rungs that power the machine off, in order.
    """
    reserves = [reserve] if isinstance(reserve, Rung) else reserve
    notes: list[str] = []
    products: list[_Product] = []

    def whole(rung: Rung, worth: int) -> bool:
        file = folder / f"{rung.name.replace(' ', '-')}.part"
        try:
            rung.fetch(file, deadline.at_most(rung.seconds))
            cut = check(file, crash)
        except (WinvmError, OSError) as error:
            notes.append(f"dump from the {rung.name}: {error}")
            file.unlink(missing_ok=True)
            return False
        if cut:
            notes.append(f"dump from the {rung.name}: cut ({cut})")
        products.append(_Product(bool(cut), worth, rung.name, file))
        return not cut

    if not any(whole(rung, worth) for worth, rung in enumerate(before)):
        for worth, rung in enumerate(reserves, len(before) + len(after)):
            whole(rung, worth)
        any(whole(rung, worth) for worth, rung in enumerate(after, len(before)))
    if not products:
        return Climb("", None, tuple(notes))
    best, *rest = sorted(products)
    for worse in rest:
        worse.file.unlink()
    return Climb(best.rung, best.file.replace(folder / NAME), tuple(notes), best.cut)


@dataclasses.dataclass(frozen=True, order=True)
class _Product:
    """What a rung brought; the best sorts first."""

    cut: bool
    worth: int
    rung: str
    file: Path


def check(file: Path, crash: KernelCrash) -> str:
    """Whether a file is a kernel dump of this crash; returns why it is not whole, empty when it is.

    Raises:
        DumpError: it is no kernel dump, or one of another crash.
    """
    found = summarise(file)
    if found.bugcheck is None:
        raise DumpError(f"It is no kernel dump but {found.type}.")
    if crash.kind == "bugcheck" and found.bugcheck.code != LIVE_DUMP:
        told = (crash.code, *crash.parameters)
        held = (found.bugcheck.code, *found.bugcheck.parameters)
        if held[: len(told)] != told:
            raise DumpError(
                f"It tells of bugcheck {_shown(held)}, but the guest crashed with {_shown(told)}.",
                remedy="It is of an earlier crash.",
            )
    return (found.warnings[0] if found.warnings else "its end is missing") if found.truncated else ""


def _shown(numbers: Sequence[int]) -> str:
    return f"{numbers[0]:#x} ({', '.join(f'{one:#x}' for one in numbers[1:])})"
