"""Measures every number that has a target, prints measured value and target, and writes them as JSON.

Exit code 1 means that a target is missed. A measurement that fails ends the run with another exit code; the
rows measured before it are shown and written. Everything is measured in one run on one host, so that ratios
are fair.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.display.terminal import paragraph
from harness.display.unexpected import as_winvm_error
from harness.results import write_json
from tests.bench import (
    bundling,
    cold_boot,
    covering,
    deploying,
    dryrun,
    dump,
    fuzzing,
    idle,
    ioctl,
    kdnet,
    parallel,
    python_start,
    report,
    restoring,
    serial_line,
    smoke,
    suite,
)
from tests.bench.guest import subject
from tests.bench.project import ROOT, project
from tests.bench.row import Row

BUSY = 0.7
"""Load average above which other work on the host distorts the numbers."""


def main(arguments: Sequence[str]) -> int:
    """Measures; returns the exit code."""
    options = _parser().parse_args(arguments)
    rows: list[Row] = []
    before = os.getloadavg()[0]
    if before > BUSY:
        sys.stderr.write(
            f"winvm bench: the host is busy, load average {before:.1f}: it may miss targets for that\n"
        )

    def add(name: str, found: list[Row]) -> None:
        rows.extend(found)
        sys.stderr.write(f"winvm bench: {name} measured\n")

    code, environment = 0, dict[str, str]()
    try:
        _measure(options.quick, add, environment)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"winvm bench: {error}\n{error.stderr or ''}")
        code = 2
    except Exception as error:  # noqa: BLE001  the error is printed, and the rows measured so far are kept
        known = as_winvm_error(error)
        sys.stderr.write(f"winvm bench: {paragraph(known)}\n")
        code = known.exit_code
    print(report.plain(rows))
    loads = (before, os.getloadavg()[0])
    folder = ROOT / "artifacts" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json", report.document(rows, environment, loads))
    if options.markdown:
        options.markdown.write_text(report.markdown(rows, environment, loads), encoding="utf-8")
    return code or (0 if all(row.met for row in rows) else 1)


def _measure(quick: bool, add: Callable[[str, list[Row]], None], environment: dict[str, str]) -> None:
    """Runs all measurements, compared ones in succession; fills `environment` with the guest's facts."""
    repetitions, operations, idle_s = (2, 300, 5.0) if quick else (5, 1000, 10.0)
    with project(operations) as made:
        os.environ["CI"] = "true"  # no progress display
        whole = suite.measure()
        add("suite", whole.rows)
        boots = [cold_boot.measure(made)]
        os.environ["WINVM_HOME"] = str(made.home)
        with subject(made) as found:
            environment.update(found.bench.guest.environment)
            reverts = restoring.reverts(found, repetitions)
            add("overlay", restoring.overlay(found, repetitions * 3))
            add("start of Python", python_start.measure(found, whole, repetitions))
            add("ioctl", ioctl.measure(found, operations, repetitions))
            add("suspension", idle.measure(found, idle_s, repetitions))
            add("transfer", deploying.measure(found, repetitions))
            add("crash bundle", bundling.measure(found, repetitions))
        boots.append(cold_boot.measure(made))
        add("revert", restoring.rows(reverts, boots))
        add("smoke", smoke.measure(made, repetitions))
        add("parallel runs", parallel.measure(made))
        add("coverage", covering.measure(made))
        add("fuzzing", fuzzing.measure(made, 1 if quick else fuzzing.SEEDS))
        add("serial line", serial_line.measure(made))
        add("dry runs", dryrun.measure())
    add("kernel debugging", kdnet.measure())
    add("dumps", dump.measure())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
