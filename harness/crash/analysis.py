"""A crash as an answer: analysis.json for programs, analysis.md for people.

Made of what was captured: the `Crash`, the summary of its dump if there is one, the last debug output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.crash.expectation import describe, missing_in_wine
from harness.display.markdown import code, plain
from harness.display.terminal import printable
from harness.dumps import bugcheck
from harness.dumps.reader import summarise
from harness.dumps.signature import crash_signature
from harness.dumps.summary import Place, Summary, place_document
from harness.dumps.symbols import symbolise
from harness.errors import WinvmError
from harness.outcome import Crash

SCHEMA = 1
DUMPS = ("memory.dmp", "minidump.dmp")
"""Dumps in a crash's folder, the one that says most first."""
TAIL_LINES = 20
STACK_PLACES = 16
_LIBRARY = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}:trace:loaddll:")
"""Wine's word of a library: a dozen of them at each start, which would hide what the driver said."""
_NULL_PAGE = 0x10000
_KERNEL = 0xFFFF_8000_0000_0000
_ACCESS_VIOLATION = 0xC0000005
_ON_PURPOSE = frozenset({0xE2, 0xDEADDEAD})
_BAD_ACCESSES = frozenset({0x0A, 0x50, 0xBE, 0xC5, 0xCC, 0xCD, 0xCE, 0xD0, 0xD1, 0xD3, 0xD4, 0xD5, 0xD6})


def analyse(
    crash: Crash, folder: Path, *, symbols: Path | None, driver: str, tail: Sequence[str]
) -> dict[str, Any]:
    """Writes analysis.json and analysis.md into a crash's folder; returns the former's document.

    Args:
        folder: of the crash; its dump is read when it has one. A dump or symboliser that fails costs
            only its part, and a note says so.
        symbols: folder with the driver and its PDB; several builds may lie below it.
        driver: file name of the driver under test, which is blamed when no dump says better.
        tail: the last lines of the debug output, oldest first.

    Raises:
        OSError: the files cannot be written.
    """
    notes: list[str] = []
    summary = None
    if dumps := [folder / name for name in DUMPS if (folder / name).is_file()]:
        try:
            summary = summarise(dumps[0])
            if symbols:
                summary = symbolise(summary, symbols)
        except WinvmError as error:
            notes.append(str(error))
    document = analysis_document(crash, summary, tail, driver, notes)
    text = json.dumps(document, indent=1) + "\n"
    (folder / "analysis.json").write_text(text, encoding="utf-8")
    (folder / "analysis.md").write_text(analysis_markdown(document), encoding="utf-8")
    return document


def analysis_document(
    crash: Crash, summary: Summary | None, tail: Sequence[str], driver: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """What happened, where, after what, and why, as JSON-ready data. Addresses are integers."""
    said = [printable(line) for line in tail if not _LIBRARY.match(line)]
    known = bugcheck.explanation(crash.code, crash.parameters) if crash.kind == "bugcheck" else ""
    name = bugcheck.lookup(crash.code).name if crash.kind == "bugcheck" else ""
    return {
        "schema": SCHEMA,
        "signature": crash_signature(crash, summary, driver),
        "scenario": crash.scenario,
        "what": describe(crash),
        "name": name or bugcheck.exception_name(crash.code),
        "explanation": known,
        "likely_cause": likely_cause(crash, summary),
        "last_operation": crash.last_operation,
        "fault": place_document(summary.fault) if summary and summary.fault else None,
        "stack": [place_document(word.place) for word in summary.likely_returns()[:STACK_PLACES]]
        if summary
        else [],
        "dbgprint_tail": said[-TAIL_LINES:],
        "warnings": [*notes, *(summary.warnings if summary else ())],
    }


def likely_cause(crash: Crash, summary: Summary | None) -> str:
    """One sentence from code and parameters."""
    place = summary.fault if summary else None
    who = _who(place)
    if crash.kind == "hang":
        return "The driver made no progress before the deadline: it waits or spins without end."
    if crash.kind == "flood":
        return "The driver prints without end."
    if missing := missing_in_wine(crash):
        return f"{who} called {missing}, which Wine does not implement; a Windows kernel has it."
    if crash.kind == "exception":
        # What the stack named did not fault itself: what it called did, over what it was given.
        called = "called code that " if summary and summary.fault_source == "stack" else ""
        return f"{who} {called}{_exception_cause(crash)}."
    base = bugcheck.base_code(crash.code)
    known = bugcheck.lookup(crash.code)
    if base in _ON_PURPOSE:
        return f"{who} asked for this crash: bugcheck {crash.code:#x} is only raised on purpose."
    if base in _BAD_ACCESSES and crash.parameters:
        return f"{who} touched {_address(crash.parameters[0])}: {known.meaning}."
    if known.meaning:
        kinds = [
            words
            for parameter, value in zip(known.parameters, crash.parameters, strict=False)
            if parameter.role == "kind" and (words := bugcheck.kind(crash.code, value))
        ]
        return f"{who} is at fault: {'; '.join((known.meaning, *kinds))}."
    return f"{who} called for bugcheck {crash.code:#x}, a code of its own."


def _who(place: Place | None) -> str:
    if place is None or not place.module:
        return "The driver"
    if not place.frames:
        return f"{place.module}+{place.offset or 0:#x}"
    frame = place.frames[0]
    where = f" ({frame.file}:{frame.line})" if frame.file else ""
    return f"{place.module}, {frame.function}{where},"


def _exception_cause(crash: Crash) -> str:
    words = bugcheck.exception_name(crash.code) or f"exception {crash.code:#010x}"
    if crash.code & 0xFFFFFFFF != _ACCESS_VIOLATION or len(crash.parameters) < 3:
        return f"raised an exception that nothing handled: {words}"
    access = crash.parameters[3] if len(crash.parameters) > 3 else 0
    verb = {1: "wrote to", 8: "jumped to"}.get(access, "read from")
    return f"{verb} {_address(crash.parameters[2])}"


def _address(address: int) -> str:
    if address < _NULL_PAGE:
        return f"address {address:#x}, through a null pointer"
    if (1 << 47) <= address < _KERNEL or address == (1 << 64) - 1:
        return f"address {address:#x}, which no pointer can have: it was overwritten or never set"
    return f"address {address:#x}, which is not mapped: freed, never valid, or not allowed here"


def analysis_markdown(document: dict[str, Any]) -> str:
    """The same for a person. Text from the guest stands in code, where it stays text."""
    lines = [
        f"# {document['signature']}",
        "",
        plain(document["likely_cause"]),
        "",
        f"- what: {code(document['what'])}"
        + (f" ({plain(document['name'])})" if document["name"] not in ("", "UNKNOWN") else ""),
        f"- scenario: {code(document['scenario'])}",
        f"- last operation: {code(document['last_operation'] or 'none journalled')}",
    ]
    if document["explanation"]:
        lines.append(f"- meaning: {plain(document['explanation'])}")
    if fault := document["fault"]:
        lines.append(f"- fault: {code(_place_line(fault))}")
    if document["stack"]:
        lines += ["", "## Stack", "", *(f"    {_place_line(place)}" for place in document["stack"])]
    if document["dbgprint_tail"]:
        lines += ["", "## Debug output before it", "", *(f"    {line}" for line in document["dbgprint_tail"])]
    if document["warnings"]:
        lines += ["", "## Warnings", "", *(f"- {code(warning)}" for warning in document["warnings"])]
    return "\n".join(lines) + "\n"


def _place_line(place: dict[str, Any]) -> str:
    where = f"{place['module']}+{place['offset']:#x}" if place["module"] else f"{place['address']:#x}"
    frames = [f"{frame['function']} ({frame['file']}:{frame['line']})" for frame in place["frames"]]
    return printable("  ".join((where, " inlined into ".join(frames))).rstrip())
