"""Full dumps of real code that crashed at any instruction: the chain is exact, also without unwind data."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from harness.dumps.formats.reader import summarise
from harness.dumps.summary import Found, Summary
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import symbolise
from tests.fakes import emulated_crash
from tests.fakes.emulated_crash import CLANG, GCC, Crashed, Run, build, without_function_table, write_dump

pytest.importorskip("unicorn", reason="unicorn, which runs the code, is not installed")

CASES = (
    *((1, CLANG, ("-O2",)), (2, CLANG, ("-O0",)), (3, CLANG, ("-Os",)), (4, CLANG, ("-O1",))),
    *((6, CLANG, ("-O1", "-fno-omit-frame-pointer")), (5, GCC, ("-O2",)), (7, GCC, ("-O0",))),
)
WITHOUT_DATA = (
    *((4, ("-Os",)), (4, ("-O1", "-fno-omit-frame-pointer")), (6, ("-O1", "-fno-omit-frame-pointer"))),
)
CRASHES = 4


def crashes(built: emulated_crash.Built, seed: int) -> list[Crashed]:
    """Crashes at instructions of the driver that the seed draws; every program has some."""
    random_ = random.Random(seed)
    found = [Run(built).crash(random_.randrange(1, 900 if number else 200)) for number in range(CRASHES)]
    reached = [one for one in found if one]
    assert reached
    return reached


def chain(summary: Summary) -> tuple[int, ...]:
    return tuple(frame.place.address for frame in summary.stack[1:])


@pytest.mark.parametrize(("seed", "compiler", "options"), CASES)
def test_the_chain_is_exact(seed: int, compiler: str, options: tuple[str, ...], tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    built = build(tmp_path, seed, options, compiler)
    for crashed in crashes(built, seed):
        dump = write_dump(tmp_path, built, crashed)
        summary = summarise(dump)
        assert chain(summary) == crashed.chain
        assert all(frame.exact for frame in summary.stack)
        assert [frame.found for frame in summary.stack].count(Found.MACHINE_FRAME) == 1
        assert summary.fault
        assert summary.fault.address == crashed.fault
        bare = summarise(write_dump(tmp_path, built, crashed, change=without_function_table))
        assert chain(bare) == crashed.chain
        named = symbolise(summary, SymbolPath("", folders=[tmp_path]))
        assert chain(named) == crashed.chain
        if compiler == CLANG:  # the other writes no PDB
            assert all(frame.place.symbol for frame in named.stack)


@pytest.mark.parametrize(("seed", "options"), WITHOUT_DATA)
def test_code_that_was_compiled_without_unwind_data_is_followed(
    seed: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    """LEAVE, alloca that loses the stack pointer, and a fault before the pushes of a prologue."""
    if not shutil.which(GCC):
        pytest.skip(f"{GCC} is not installed")
    built = build(tmp_path, seed, (*options, "-fno-asynchronous-unwind-tables"), GCC)
    for crashed in crashes(built, seed):
        summary = summarise(write_dump(tmp_path, built, crashed, change=without_function_table))
        assert chain(summary) == crashed.chain
        assert all(frame.exact for frame in summary.stack)
