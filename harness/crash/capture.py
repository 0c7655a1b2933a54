"""Gathers what is left of a guest that went down, piece by piece: a piece that fails costs only itself.

The folder of one crash holds crash.json, analysis.json, analysis.md, dbgprint-tail.txt, journal.jsonl and,
where they could be had, screenshot.png and the dump (`dumpsource`); that of a hang, hang.json. `notes` of the
crash say why one is missing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.crash.analysis import analyse
from harness.crash.dump_source import DumpSource
from harness.crash.hang import RECORD as HANG_RECORD
from harness.deadline import Deadline
from harness.display.terminal import printable
from harness.errors import WinvmError
from harness.host.fileend import last_bytes
from harness.interfaces import FileTransfer
from harness.machine.protocol import Machine
from harness.outcome import Crash, DebugRecord
from harness.results import crash_document, write_json

DBGPRINT_TAIL = 300  # records
JOURNAL_TAIL = 1 << 20  # bytes
LAST_OPERATIONS = 8192  # bytes
SCREENSHOT_DEADLINE_S = 10.0
ANALYSIS = ("analysis.json", "analysis.md")
UNWINDING = "CloseHandle after error"  # as guest/agent/win32/handle.py writes it


def last_operation(journal: Path) -> str:
    """The last operation in the agent's write-ahead journal; empty when there is none.

    Not the closing of handles after an operation failed: a caller outlives the driver for a moment.
    """
    try:
        lines = last_bytes(journal, LAST_OPERATIONS).split(b"\n")[:-1]
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
            if entry["op"] == UNWINDING:
                continue
            return f"{entry['op']} {entry.get('detail', '')}".strip()[:1000]
        except (ValueError, KeyError, TypeError):
            continue
    return ""


def capture(
    crash: Crash,
    folder: Path,
    *,
    machine: Machine,
    files: FileTransfer,
    records: Sequence[DebugRecord],
    dump: DumpSource,
    symbols: Path,
    driver: str,
) -> Crash:
    """Writes everything that can be had into `folder`; returns the crash with what was found.

    Args:
        symbols: folder above the driver's builds and their PDBs.
        driver: file name of the driver under test.

    Raises:
        OSError: the artifacts' disk is full or gone, so that not even crash.json could be written.
    """
    operation = last_operation(machine.channels.journal)  # first: a guest that still runs goes on writing
    found = sorted(file.name for file in folder.iterdir())  # of a hang, what was tried on it
    notes = list(crash.notes)

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
    complete = dataclasses.replace(
        crash,
        folder=folder,
        artifacts=(*found, *ANALYSIS, "crash.json"),
        notes=tuple(notes),
        last_operation=operation,
    )
    tail = [record.text for record in records[-DBGPRINT_TAIL:]]
    analysis = analyse(complete, folder, symbols=symbols, driver=driver, tail=tail)
    complete = dataclasses.replace(complete, signature=analysis["signature"])
    write_json(folder / "crash.json", crash_document(complete))
    return complete


def _write_records(records: Sequence[DebugRecord], target: Path) -> None:
    lines = (f"{record.time:.6f} {printable(record.text)}\n" for record in records[-DBGPRINT_TAIL:])
    target.write_text("".join(lines), encoding="utf-8")
