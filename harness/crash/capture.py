"""Collects the evidence of a crashed guest, file by file: one that fails does not affect the others.

A crash's folder holds analysis.json, analysis.md, dbgprint-tail.txt and journal.jsonl; where they are
available, screenshot.png and the dump (`harness.crash.dump_source`); after a hang, hang.json.
`harness.run.crashes` writes crash.json last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.crash.analysis import Circumstances, analyse
from harness.crash.dump_source import DumpSource
from harness.crash.hang import RECORD as HANG_RECORD
from harness.crash.held import NONE_HELD, HeldIrps
from harness.deadline import Deadline
from harness.display.terminal import printable
from harness.dumps.summary import Summary
from harness.errors import WinvmError
from harness.host.fileend import last_bytes
from harness.interfaces import FileTransfer, ReadsLog
from harness.machine.protocol import Machine
from harness.outcome import DebugRecord, KernelCrash

DBGPRINT_TAIL = 300  # records
JOURNAL_TAIL = 1 << 20  # bytes
LAST_OPERATIONS = 8192  # bytes
SCREENSHOT_DEADLINE_S = 10.0
ANALYSIS = ("analysis.json", "analysis.md")
_BEGIN = re.compile(r"WINVM-MARK \S+ begin ")
AFTER_ERROR = " after error"  # as guest/agent/win32/handle.py and guest/agent/service.py write it


def last_operation(journal: Path, scenario: str | None = None) -> str:
    """The last operation in the agent's write-ahead journal; empty when there is none.

    Args:
        scenario: whose operations count, empty for the agent's own; None for all.

    Closing handles after a failed operation does not count, nor does deleting the service that did not start:
    the caller outlives the driver for a moment.
    """
    try:
        lines = last_bytes(journal, LAST_OPERATIONS).split(b"\n")[:-1]
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
            if entry["op"].endswith(AFTER_ERROR):
                continue
            if scenario is not None and entry.get("scenario", scenario) != scenario:
                continue
            return f"{entry['op']} {entry.get('detail', '')}".strip()[:1000]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return ""


def last_run(journal: Path) -> int | None:
    """Number of the run that issued the last operation, 0 for the agent itself; None if unknown."""
    try:
        *_, line = last_bytes(journal, LAST_OPERATIONS).split(b"\n")[:-1]
        return int(json.loads(line)["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_issued(journal: Path, run: int) -> bool | None:
    """Whether a run of a scenario, the newest, has issued an operation; None if the journal does not tell."""
    try:
        *_, line, torn = last_bytes(journal, LAST_OPERATIONS).split(b"\n")
        return None if torn else int(json.loads(line)["run"]) == run
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Evidence:
    """The collected evidence: names of the files, and `notes` with the reason for each missing one.

    `cause` explains the crash in one sentence, with function and line where they are known. `analysis` is the
    content of analysis.json.
    """

    signature: str
    cause: str
    last_operation: str
    artifacts: tuple[str, ...]
    notes: tuple[str, ...]
    analysis: Mapping[str, Any]


def capture(
    crash: KernelCrash,
    scenario: str,
    folder: Path,
    *,
    machine: Machine,
    files: FileTransfer,
    records: Sequence[DebugRecord],
    dump: DumpSource,
    symbols: Path,
    driver: str,
    log: ReadsLog | None = None,
    held: HeldIrps = NONE_HELD,
    image: Path | None = None,
    live: Summary | None = None,
    operations_of: str | None = None,
) -> Evidence:
    """Writes all available evidence into `folder`.

    Args:
        scenario: the scenario the crash is attributed to.
        symbols: folder that contains the driver's builds and their PDBs.
        driver: file name of the driver under test.
        live: what a debugger read of the halted kernel, for the analysis where there is no dump.
        log: knows which lines of the debug output the analysis leaves out; they stay in the evidence.
        held: the IRPs that the driver of a hung guest held.
        image: the driver that was loaded, on the host.
        operations_of: whose last operation is told, as for `last_operation`.

    Raises:
        OSError: the disk of the artifacts is full or gone; not even analysis.json could be written.
    """
    # First: a running guest appends to it.
    operation = last_operation(machine.channels.journal, operations_of)
    found = sorted(file.name for file in folder.iterdir())  # after a hang: the files of its probes
    notes: list[str] = []

    def attempt(name: str, make: Callable[[Path], object]) -> None:
        try:
            make(folder / name)
        except (WinvmError, OSError) as error:
            notes.append(f"{name} is missing: {error}")
        else:
            found.append(name)

    if HANG_RECORD not in found:
        limit = Deadline.after(SCREENSHOT_DEADLINE_S)
        attempt("screenshot.png", lambda file: machine.screenshot(file, limit))
    attempt(
        "journal.jsonl", lambda file: file.write_bytes(last_bytes(machine.channels.journal, JOURNAL_TAIL))
    )
    attempt("dbgprint-tail.txt", lambda file: _write_records(records, file))
    collected = dump.collect(folder, machine, files, Deadline.after(dump.seconds))
    found += [collected.file] if collected.file else []
    notes += collected.notes
    tail = [record.text for record in records[-DBGPRINT_TAIL:] if not (log and log.is_noise(record.text))]
    printed = [record.text for record in _since_marker(records) if record.source == "dbgprint"]
    circumstances = Circumstances(scenario, driver, operation, tail, held, printed, image)
    analysis = analyse(crash, circumstances, folder, symbols, live)
    return Evidence(
        analysis["signature"],
        analysis["likely_cause"],
        operation,
        (*found, *ANALYSIS),
        tuple(notes),
        analysis,
    )


def _since_marker(records: Sequence[DebugRecord]) -> Sequence[DebugRecord]:
    """The records after the agent's last marker that a scenario begins."""
    begun = (index for index in range(len(records) - 1, -1, -1) if _BEGIN.match(records[index].text))
    return records[next(begun, -1) + 1 :]


def _write_records(records: Sequence[DebugRecord], target: Path) -> None:
    lines = (f"{record.time:.6f} {printable(record.text)}\n" for record in records[-DBGPRINT_TAIL:])
    target.write_text("".join(lines), encoding="utf-8")
