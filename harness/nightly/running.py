"""Runs one cell of a night: its `winvm run` in a process of its own, on a host with room for the guest."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.deadline import Deadline
from harness.host import programs
from harness.host.fileend import last_text
from harness.nightly.cells import Cell
from harness.nightly.night import Night
from harness.nightly.verdict import CellResult, CellVerdict, file_stem
from harness.report.history import History
from harness.report.news import News

ROOM_SECONDS = 12 * 3600.0
RUN_SECONDS = 6 * 3600.0
END_SECONDS = 60.0
"""How long an interrupted run may take to clean up."""
LOG_TAIL = 4000
BROKEN = (2, 3)


def run_cell(night: Night, cell: Cell) -> CellResult:
    """Waits for a host with room, runs the cell there, finds what is new, and saves the result.

    Raises:
        HostError: the history cannot be used.
        DeadlineError: no host had room.
    """
    if cell.missing:
        reason = f"guest {cell.profile} lacks {cell.missing}"
        result = CellResult(cell=cell.name, verdict=CellVerdict.SKIPPED, message=reason)
    else:
        with night.capacity.take(cell.need, Deadline.after(ROOM_SECONDS)) as host:
            started = time.time()
            log = night.folder / f"{file_stem(cell.name)}.log"
            code = _run(night, cell, host.uri, log)
            result = _judged(night, cell, code, started, log)
            result = result.model_copy(
                update={"host": host.name, "seconds": round(time.time() - started, 3), "log": log.name}
            )
    result.save(night.folder)
    return result


def _run(night: Night, cell: Cell, uri: str, log: Path) -> int:
    # When this process dies, the run is interrupted (prctl(2)) and removes its guest and files.
    argv = [sys.executable, "-m", "harness", "--config", str(night.config)]
    argv += ["run", "--guest", cell.profile, "--build", cell.build, "--artifacts", str(night.artifacts)]
    argv += ["--verifier"] if cell.verifier else []
    argv += ["--uri", uri] if uri else []
    argv += [f"--param={parameter}" for parameter in night.parameters]
    return bounded([*argv, *night.options], log, RUN_SECONDS)


def bounded(argv: Sequence[str], log: Path, seconds: float) -> int:
    """Runs `argv` with its output in `log`; returns its exit code, or 3 when it did not end in time.

    In that case, and when this process is interrupted, the run gets SIGINT first, so that it can clean up.
    """
    with log.open("wb") as output:
        # The run is interrupted when this process dies, too.
        run = programs.start(argv, stdout=output, stderr=output, death_signal="INT")
        try:
            return run.wait(seconds)
        except subprocess.TimeoutExpired:
            output.write(f"winvm ended this run because it had not ended after {seconds:g} s.\n".encode())
            output.flush()
            return 3
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    run.wait(END_SECONDS)
                run.kill()  # has no effect on a run that has ended
                run.wait()


def _judged(night: Night, cell: Cell, code: int, started: float, log: Path) -> CellResult:
    with History(night.artifacts.parent) as history:
        newest = next(iter(history.runs(1, cell.name, "night")), None)
        if newest is None or newest.started < started - 1:
            ended = CellResult(cell=cell.name, verdict=CellVerdict.BROKEN, exit_code=2 if code == 2 else 3)
            return ended.model_copy(update={"message": last_text(log, LOG_TAIL) or f"exit code {code}"})
        found = history.news(newest.run)
    result = CellResult(cell=cell.name, verdict=CellVerdict.QUIET, run=newest.run, news=found)
    if newest.broke_off or code in BROKEN:
        why = newest.broke_off or last_text(log, LOG_TAIL)
        return result.model_copy(update={"verdict": CellVerdict.BROKEN, "exit_code": 3, "message": why})
    verdict, exit_code = judge(found, strict=night.strict)
    return result.model_copy(update={"verdict": verdict, "exit_code": exit_code})


def judge(found: News, *, strict: bool) -> tuple[CellVerdict, int]:
    """The verdict on a run that reached its end, and what it contributes to the night's exit code.

    Args:
        strict: known failures and known crashes count as new ones do.
    """
    crashed, failed = bool(found.crashes), bool(found.failing)
    if strict:
        crashed, failed = (
            crashed or bool(found.known_crashes),
            failed or bool(found.still_failing or found.flaky),
        )
    if crashed or failed:
        return CellVerdict.NEWS if found.bad else CellVerdict.KNOWN, 4 if crashed else 1
    return CellVerdict.QUIET, 0
