"""Measures every number that the bench promises, prints them beside their targets and keeps them as JSON.

Exit code 1 when a target is missed. Everything is measured in one run on one host, so that ratios are fair.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.errors import WinvmError
from harness.report.results import write_json
from harness.terminal import paragraph
from tests.bench import cold_boot, deploying, idle, ioctl, python_start, report, restoring, smoke, suite
from tests.bench.guest import subject
from tests.bench.project import ROOT, project
from tests.bench.row import Row


def main(arguments: Sequence[str]) -> int:
    """Measures; returns the exit code."""
    options = _parser().parse_args(arguments)
    repetitions, operations, idle_s = (2, 300, 10.0) if options.quick else (5, 1000, 20.0)
    rows: list[Row] = []
    before = os.getloadavg()[0]

    def add(name: str, found: list[Row]) -> None:
        rows.extend(found)
        sys.stderr.write(f"winvm bench: {name} measured\n")

    try:
        with project(operations) as made:
            os.environ["CI"] = "true"  # no progress display
            whole = suite.measure()
            add("suite", whole.rows)
            cold = cold_boot.measure(made)
            os.environ["WINVM_HOME"] = str(made.home)
            with subject(made) as found:
                add("start of Python", python_start.measure(found, whole, repetitions))
                add("ioctl", ioctl.measure(found, operations, repetitions))
                add("suspension", idle.measure(found, idle_s, repetitions))
                add("transfer", deploying.measure(found, repetitions))
                add("revert", restoring.measure(found, cold, repetitions))
                environment = dict(found.bench.environment)
            add("smoke", smoke.measure(made, repetitions))
    except WinvmError as error:
        sys.stderr.write(f"winvm bench: {paragraph(error)}\n")
        return error.exit_code
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"winvm bench: {error}\n{error.stderr or ''}")
        return 2
    print(report.plain(rows))
    document = report.document(rows, environment, (before, os.getloadavg()[0]))
    folder = ROOT / "artifacts" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json", document)
    if options.markdown:
        options.markdown.write_text(report.markdown(rows, environment["accelerator"]), encoding="utf-8")
    return 0 if all(row.met for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
