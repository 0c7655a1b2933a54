"""One night: runs its cells in parallel, and compares each with the night before for the exit code."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from harness.deadline import Deadline
from harness.errors import HostError
from harness.nightly.capacity import Capacity, Host
from harness.nightly.cells import Cell
from harness.nightly.verdict import CellResult, CellVerdict
from harness.project.config import Config
from harness.results import write_json
from harness.run.origin import NIGHT_VARIABLE

FOLDER = "nightly"
"""Folder below the artifacts folder, with the runs of every night, and `nights/`."""
VARIABLE = NIGHT_VARIABLE
PLAN = "night.json"
CLEAN_UP_SECONDS = 120.0


class Night(BaseModel):
    """`night.json`: what the workers need to know. `folder` is the night's own, `artifacts` its runs'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    artifacts: Path
    config: Path
    cells: tuple[Cell, ...]
    hosts: tuple[Host, ...]
    parameters: tuple[str, ...]
    options: tuple[str, ...]
    strict: bool = False

    @classmethod
    def of_environment(cls) -> Night:
        """The night that this process is a worker of."""
        return cls.model_validate_json((Path(os.environ[VARIABLE]) / PLAN).read_bytes())

    @property
    def capacity(self) -> Capacity:
        """The hosts' memory and cores, shared by the night's processes."""
        return Capacity(self.folder / "shares", self.hosts)


def begin(
    config: Config,
    file: Path,
    cells: Sequence[Cell],
    hosts: Sequence[Host],
    options: Sequence[str],
    *,
    strict: bool = False,
) -> Night:
    """Makes the night's folder.

    Args:
        file: path of winvm.toml.
        options: command-line options for each cell's `winvm run`.
        strict: known failures and crashes count, too.

    Raises:
        ConfigurationError: a cell fits on no host.
        HostError: the night's folder cannot be made.
    """
    artifacts = config.artifacts_folder / FOLDER
    folder = artifacts / "nights" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    parameters = (f"{name}={_text(value)}" for name, value in config.nightly.parameters.items())
    night = Night(
        folder=folder.resolve(),
        artifacts=artifacts.resolve(),
        config=file.resolve(),
        cells=tuple(cells),
        hosts=tuple(hosts),
        parameters=tuple(parameters),
        options=tuple(options),
        strict=strict,
    )
    try:
        folder.mkdir(parents=True)
        (folder / PLAN).write_text(night.model_dump_json(indent=1), encoding="utf-8")
    except OSError as error:
        raise HostError(f"{folder} cannot be made: {error.strerror}.", remedy="Free disk space.") from error
    for cell in cells:
        night.capacity.check(cell.need, f"Cell {cell.name}")
    return night


def run(night: Night, workers: int | None = None) -> tuple[list[CellResult], bool]:
    """Runs every cell; returns the results in the matrix' order, and whether the night was interrupted.

    Args:
        workers: cells at once; by default as many as fit on the hosts.
    """
    wanted = [cell for cell in night.cells if not cell.missing]
    at_once = workers or max(1, night.capacity.at_once([cell.need for cell in wanted]))
    os.environ[VARIABLE] = str(night.folder)
    suite = str(Path(__file__).parent / "suite")
    arguments = [
        suite,
        "--rootdir",
        suite,
        "-p",
        "no:cacheprovider",
        "-q",
        "-o",
        "addopts=",
        "-n",
        str(at_once),
    ]
    arguments += ["--maxschedchunk", "1", "--no-header", "--tb=short"]
    code = pytest.main(arguments)
    night.capacity.wait_until_free(Deadline.after(CLEAN_UP_SECONDS))
    found = [_result(night, cell) for cell in night.cells]
    return found, code == pytest.ExitCode.INTERRUPTED


def finish(night: Night, results: Sequence[CellResult], seconds: float) -> Mapping[str, object]:
    """Writes the night's results to `results.json` in its folder, and returns them."""
    document = {
        "night": night.folder.name,
        "seconds": round(seconds, 3),
        "exit_code": exit_code(results),
        "cells": [result.model_dump(mode="json") for result in results],
    }
    write_json(night.folder / "results.json", document)
    return document


def exit_code(results: Sequence[CellResult]) -> int:
    """The exit code: a new crash (4), a cell that did not run (2, 3), a new failure (1), nothing new (0)."""
    codes = {result.exit_code for result in results}
    return next((code for code in (4, 3, 2, 1) if code in codes), 0)


def _result(night: Night, cell: Cell) -> CellResult:
    try:
        return CellResult.load(night.folder, cell.name)
    except OSError:
        lost = "The cell's process ended without a result."
        return CellResult(cell=cell.name, verdict=CellVerdict.BROKEN, exit_code=3, message=lost)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
