"""Gets the dump of a crashed Windows kernel from the first rung that yields a valid one.

    guest          the guest has rebooted by itself, and its MEMORY.DMP is copied out
    offline disk   the machine is off; MEMORY.DMP, or the page file it is made from, is read from its disk
    host memory    QEMU writes out the crashed machine's memory, before the machine is powered off

A rung succeeds when its file is a complete kernel dump of this crash. A truncated dump is kept, and used
when no rung yields a better one. Sources: Windows Internals, 6th ed., part 2 (a dump is in the page file
until the next boot), QEMU docs/system (dump-guest-memory).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.dumps.formats.reader import summarise
from harness.errors import DumpError, WinvmError
from harness.outcome import KernelCrash

NAME = "memory.dmp"
LIVE_DUMP = 0x161
"""LIVE_SYSTEM_DUMP: the bugcheck code in a dump that the host made of a guest that had not crashed."""


@dataclasses.dataclass(frozen=True)
class Rung:
    """One way to a dump: `fetch(file, deadline)` writes it, or raises `WinvmError` saying why it cannot."""

    name: str
    seconds: float
    fetch: Callable[[Path, Deadline], object]


@dataclasses.dataclass(frozen=True)
class Climb:
    """Result of the ladder: the `rung` that succeeded and its `file`, or neither.

    notes: why the other rungs failed. cut: the dump is truncated, but no rung yielded a better one.
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
    """Tries the rungs, the most valuable first; the dump that is kept is `memory.dmp` in `folder`.

    Args:
        before: rungs that need the machine in its present state, in order.
        reserve: rungs fetched when those of `before` fail, because those of `after` power the machine
            off; their dumps are used last.
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
            notes.append(f"dump from the {rung.name}: truncated ({cut})")
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
    """The dump that one rung yielded; the best sorts first."""

    cut: bool
    worth: int
    rung: str
    file: Path


def check(file: Path, crash: KernelCrash) -> str:
    """Checks that a file is a kernel dump of this crash; returns why it is truncated, empty if complete.

    Raises:
        DumpError: the file is not a kernel dump, or is the dump of another crash.
    """
    found = summarise(file)
    if found.bugcheck is None:
        raise DumpError(f"The file is not a kernel dump but {found.type}.")
    if crash.kind == "bugcheck" and found.bugcheck.code != LIVE_DUMP:
        told = (crash.code, *crash.parameters)
        held = (found.bugcheck.code, *found.bugcheck.parameters)
        if held[: len(told)] != told:
            raise DumpError(
                f"The dump holds bugcheck {_shown(held)}, but the guest crashed with {_shown(told)}.",
                remedy="The dump is of an earlier crash.",
            )
    return (found.warnings[0] if found.warnings else "its end is missing") if found.truncated else ""


def _shown(numbers: Sequence[int]) -> str:
    return f"{numbers[0]:#x} ({', '.join(f'{one:#x}' for one in numbers[1:])})"
