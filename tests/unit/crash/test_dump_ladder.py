"""The dump ladder: which rung wins, what is refused, and the rung that reads a disk for real."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.crash.dump_ladder import LIVE_DUMP, Rung, climb
from harness.deadline import Deadline
from harness.errors import TransportError
from harness.outcome import KernelCrash
from tests.fakes import dump_writer

CRASH = KernelCrash("bugcheck", 0xD1, dump_writer.PARAMETERS, time=0.0)
CALLS: list[str] = []


def dump(code: int = 0xD1) -> bytes:
    whole = bytearray(dump_writer.full(dump_writer.guest()))
    struct.pack_into("<I", whole, 0x38, code)
    return bytes(whole)


WHOLE = dump()


def rung(name: str, brings: bytes | None) -> Rung:
    def fetch(file: Path, deadline: Deadline) -> None:
        CALLS.append(name)
        deadline.check(name)
        if brings is None:
            raise TransportError("The guest is gone.")
        file.write_bytes(brings)

    return Rung(name, 5.0, fetch)


Ladder = Callable[..., tuple[str, list[str], tuple[str, ...]]]


@pytest.fixture
def ladder(tmp_path: Path) -> Ladder:
    """Runs the ladder with these results of guest, host memory and disk: (winner, rungs tried, notes)."""

    def run(
        guest: bytes | None, memory: bytes | None, disk: bytes | None, crash: KernelCrash = CRASH
    ) -> tuple[str, list[str], tuple[str, ...]]:
        CALLS.clear()
        found = climb(
            crash, tmp_path, [rung("guest", guest)], rung("host memory", memory), [rung("disk", disk)],
            Deadline.after(30),
        )  # fmt: skip
        left = [one.name for one in tmp_path.iterdir()]
        assert left == (["memory.dmp"] if found.file else []), "what lost is removed"
        assert (found.file is None) == (not found.rung)
        return found.rung, list(CALLS), found.notes

    return run


def test_the_guest_s_own_dump_is_enough(ladder: Ladder) -> None:
    assert ladder(WHOLE, WHOLE, WHOLE) == ("guest", ["guest"], ())


def test_the_disk_is_worth_more_than_the_memory_taken_before_it(ladder: Ladder) -> None:
    winner, tried, notes = ladder(None, WHOLE, WHOLE)
    assert (winner, tried) == ("disk", ["guest", "host memory", "disk"])
    assert notes == ("dump from the guest: The guest is gone.",)


def test_the_memory_is_taken_when_the_disk_has_none(ladder: Ladder) -> None:
    winner, tried, notes = ladder(None, WHOLE, None)
    assert (winner, tried) == ("host memory", ["guest", "host memory", "disk"])
    assert len(notes) == 2


def test_a_dump_of_an_earlier_crash_is_refused(ladder: Ladder) -> None:
    winner, _, notes = ladder(dump(0x50), None, WHOLE)
    assert winner == "disk"
    assert "The dump holds bugcheck 0x50 (0x10, 0x2, 0x1" in notes[0]
    assert "but the guest crashed with 0xd1 (" in notes[0]


def test_a_dump_made_from_outside_need_not_hold_the_bugcheck(ladder: Ladder) -> None:
    assert ladder(None, dump(LIVE_DUMP), None)[0] == "host memory"


def test_a_cut_dump_is_taken_when_there_is_no_better(ladder: Ladder) -> None:
    cut = WHOLE[: len(WHOLE) // 2]
    winner, tried, notes = ladder(cut, None, None)
    assert (winner, tried) == ("guest", ["guest", "host memory", "disk"])
    assert notes[0].startswith("dump from the guest: truncated (")
    assert ladder(cut, WHOLE, None)[0] == "host memory"
    assert ladder(cut, WHOLE, WHOLE)[0] == "disk"


@pytest.mark.parametrize("junk", [b"", b"PAGEDU64", b"MDMP" + bytes(100), bytes(9000)])
def test_what_is_no_kernel_dump_is_refused(junk: bytes, ladder: Ladder) -> None:
    winner, _, notes = ladder(junk, None, None)
    assert winner == ""
    assert len(notes) == 3


def test_of_a_hang_any_bugcheck_is_reported(ladder: Ladder) -> None:
    hang = KernelCrash("hang", 0, (), time=0.0)
    assert ladder(None, None, dump(0x80), hang)[0] == "disk"
