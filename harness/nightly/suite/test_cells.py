"""One test per cell of the night; pytest-xdist spreads them over its workers."""

from __future__ import annotations

import pytest

from harness.display.terminal import lines_of
from harness.nightly.cells import Cell
from harness.nightly.night import Night
from harness.nightly.running import run_cell
from harness.nightly.verdict import CellVerdict, lines

NIGHT = Night.of_environment()


@pytest.mark.parametrize("cell", NIGHT.cells, ids=[cell.name for cell in NIGHT.cells])
def test_cell(cell: Cell) -> None:
    """Passes if nothing is new."""
    result = run_cell(NIGHT, cell)
    if result.verdict is CellVerdict.SKIPPED:
        pytest.skip(result.message)
    if result.verdict is not CellVerdict.QUIET:
        told = lines_of("\n".join([*lines(result), result.message]))
        pytest.fail("\n".join([f"{result.verdict}:", *told]), pytrace=False)
