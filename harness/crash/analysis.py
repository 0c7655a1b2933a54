"""Writes the analysis of a crash: analysis.json for programs, analysis.md for people.

Inputs: the `KernelCrash`, the summary of its dump if there is one, and the last debug output.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from harness.crash.dispatch import unload_routine
from harness.crash.expectation import describe
from harness.crash.held import NONE_HELD, HeldIrps
from harness.crash.reported_place import reported_summary
from harness.crash.witness import WITNESSES, needs_witness, with_witness
from harness.display.markdown import code, plain
from harness.display.terminal import printable
from harness.dumps import bugcheck
from harness.dumps.attribution import is_core
from harness.dumps.exceptions import address_words, cause, exception_name
from harness.dumps.formats.reader import summarise
from harness.dumps.signature import crash_signature
from harness.dumps.summary import Found, Place, StackFrame, Summary, frame_document, place_document
from harness.dumps.symbol_path import VARIABLE, SymbolPath
from harness.dumps.symbols import symbolise
from harness.errors import WinvmError
from harness.outcome import KernelCrash

SCHEMA = 1
DUMPS = ("memory.dmp", "minidump.dmp")
"""Dumps in a crash's folder, the most detailed first."""
TAIL_LINES = 20
STACK_PLACES, MOST_PLACES = 32, 128
_NAMES_CODE = ("exception record", "bugcheck parameter")
"""Fault sources that identify the faulting code, whatever usually causes the bugcheck."""
_NOT_A_DRIVER = {
    "hardware": "The usual cause is hardware or firmware, and the dump names no driver",
    "system": "A part of Windows itself ended, and the dump names no driver",
    "watchdog": "A watchdog raised the bugcheck, and the stack it was raised on names no driver",
    "live dump": "The dump was taken of a running system, without a crash",
    "found later": "A check found damage that a driver, a debugger or hardware had done before, and the dump "
    "names no driver",
}


@dataclass(frozen=True)
class Circumstances:
    """What was going on when the guest crashed.

    Attributes:
        scenario: the scenario the crash is attributed to.
        driver: file name of the driver under test, which is blamed when no dump names another module.
        last_operation: the last operation in the agent's journal; empty if there is none.
        tail: the last lines of the debug output, oldest first.
        held: what the driver had not completed when the guest hung.
        printed: what the driver itself printed in the scenario, oldest first.
        image: the driver that was loaded, on the host; names the place of an exception that left no dump.
    """

    scenario: str
    driver: str
    last_operation: str = ""
    tail: Sequence[str] = ()
    held: HeldIrps = NONE_HELD
    printed: Sequence[str] = ()
    image: Path | None = None


@runtime_checkable
class SeesCrash(Protocol):
    """Additional method of a `DebugStream` that reads a crashed kernel while it is halted."""

    def crash_report(self) -> Summary | None:
        """What it read of the last bugcheck since `rearm`, without symbols; None without one."""


def analyse(
    crash: KernelCrash,
    circumstances: Circumstances,
    folder: Path,
    symbols: Path | None,
    live: Summary | None = None,
) -> dict[str, Any]:
    """Writes analysis.json and analysis.md into a crash's folder; returns the content of analysis.json.

    Args:
        folder: the crash's folder; its dump is read if there is one. When the dump or the symboliser
            fails, only that part of the analysis is missing, and a note says so.
        symbols: folder with the driver and its PDB; it may hold several builds.
        live: what a debugger read of the halted kernel; it serves where there is no dump, or none that can be
            read.

    Raises:
        OSError: the files cannot be written.
    """
    notes: list[str] = []
    summary = None
    path = SymbolPath(os.environ.get(VARIABLE, ""), folders=[symbols] if symbols else [])
    if dumps := [folder / name for name in DUMPS if (folder / name).is_file()]:
        try:
            summary = summarise(dumps[0], circumstances.driver, path.file, path.pdb)
            summary = symbolise(summary, path)
        except WinvmError as error:
            notes.append(str(error))
    if summary is None and live is not None:
        summary = live
        try:
            summary = symbolise(live, path)
        except WinvmError as error:
            notes.append(str(error))
    driver = circumstances.driver
    if (summary is None or summary.fault is None) and circumstances.image:
        try:
            reported = reported_summary(crash, circumstances.image)
        except WinvmError as error:
            notes.append(str(error))
        else:
            summary = _with_place(summary, reported)
    if symbols and needs_witness(crash, summary, driver):
        printed, operation = circumstances.printed, circumstances.last_operation
        summary = with_witness(crash, summary, driver, symbols, printed=printed, operation=operation)
    document = analysis_document(crash, circumstances, summary, notes)
    text = json.dumps(document, indent=1) + "\n"
    (folder / "analysis.json").write_text(text, encoding="utf-8")
    (folder / "analysis.md").write_text(analysis_markdown(document), encoding="utf-8")
    return document


def _with_place(summary: Summary | None, reported: Summary | None) -> Summary | None:
    """The summary of a dump that holds no place at fault, with the place that was reported."""
    if summary is None or reported is None:
        return summary or reported
    return dataclasses.replace(summary, fault=reported.fault, fault_source=reported.fault_source)


def analysis_document(
    crash: KernelCrash, circumstances: Circumstances, summary: Summary | None, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The crash, its location, the last operation and the explanation as JSON-ready data.

    Addresses are integers.
    """
    said = [printable(line) for line in circumstances.tail]
    known = _explanation(crash, summary) if crash.kind == "bugcheck" else ""
    name = bugcheck.lookup(crash.code).name if crash.kind == "bugcheck" else ""
    return {
        "schema": SCHEMA,
        "signature": crash_signature(crash, summary, circumstances.driver, circumstances.scenario),
        "scenario": circumstances.scenario,
        "what": describe(crash),
        "name": name or exception_name(crash.code),
        "explanation": known,
        "likely_cause": _hang_cause(crash, circumstances) or likely_cause(crash, summary),
        "last_operation": circumstances.last_operation,
        "fault": place_document(summary.fault) if summary and summary.fault else None,
        "stack": [frame_document(frame) for frame in _shown(summary, circumstances.driver)]
        if summary
        else [],
        "dbgprint_tail": said[-TAIL_LINES:],
        "warnings": [*notes, *(summary.warnings if summary else ())],
        **({"held": circumstances.held.document} if circumstances.held.irps else {}),
    }


def _hang_cause(crash: KernelCrash, circumstances: Circumstances) -> str:
    """What is known of the driver's routine that does not return; empty if nothing is."""
    if crash.kind != "hang":
        return ""
    held, stop = circumstances.held, f"ControlService {circumstances.driver.removesuffix('.sys')} stop"
    if circumstances.last_operation != stop or "ControlService" not in crash.text:
        return held.cause
    place = unload_routine(circumstances.image) if circumstances.image else None
    who = f"{_who(place)} the driver's DriverUnload," if place else "DriverUnload"
    said = f"{who} has not returned: it waits or loops forever."
    if held.source:
        return said
    # Nothing shows that the driver's process is there, or that Windows has called the routine.
    return f"{said} Or something still refers to a device of the driver, or its process has ended."


def _shown(summary: Summary, driver: str) -> Sequence[StackFrame]:
    """The frames that are kept: the innermost ones, down to the driver's first and its caller."""
    own = (
        at for at, frame in enumerate(summary.stack) if (frame.place.module or "").lower() == driver.lower()
    )
    return summary.stack[: max(STACK_PLACES, min(next(own, 0) + 2, MOST_PLACES))]


def likely_cause(crash: KernelCrash, summary: Summary | None) -> str:
    """Explains the crash in one sentence, from its code and parameters; a second one says what is a guess."""
    said = _cause(crash, summary)
    place = summary.fault if summary and summary.guessed else None
    if place is None or place.module is None or place.module not in said:
        return said
    return f"{said} That is a guess: only a scan of the stack found {place.module}."


def _cause(crash: KernelCrash, summary: Summary | None) -> str:
    place = summary.fault if summary else None
    who = _who(place)
    if crash.kind == "hang":
        return "The driver made no progress before the deadline: it waits or loops forever."
    if crash.kind == "ended":
        return (
            "The driver's process ended without a report of why: a call that ends the process, or a fault "
            "that left no stack to report it on."
        )
    if crash.kind == "flood":
        return "The driver prints debug output without end."
    if crash.hint.cause:
        return f"{who} {crash.hint.cause}."
    if crash.kind == "exception" and summary and (summary.returned_to or summary.fault_source in WITNESSES):
        return _off_the_stack(crash, summary)
    if crash.kind == "exception":
        # The module that the stack names did not fault itself: the code that it called did.
        called = "called code that " if summary and summary.fault_source == "stack" else ""
        return f"{who} {called}{_exception_cause(crash)}."
    return _bugcheck_cause(crash, summary, who)


def _off_the_stack(crash: KernelCrash, summary: Summary) -> str:
    """What happened to a stack that does not show the function at fault, and the best guess which it is."""
    if summary.returned_to:
        what = f"A function returned to {address_words(summary.returned_to)}"
        what = f"{what.partition(',')[0]}: the return address on its stack had been overwritten."
    elif summary.type == "none":
        words = exception_name(crash.code) or f"exception {crash.code:#010x}"
        what = f"The driver failed ({words}) and left no usable stack: it may have been overwritten."
    else:
        what = f"The stack names no function of the driver: code that it called {_exception_cause(crash)}."
    place = summary.fault
    if place is None or not place.module or is_core(place.module):
        return what
    how = WITNESSES.get(summary.fault_source, "a scan of the stack leads to")
    return f"{what} Perhaps at fault: {how} {_who(place).rstrip(',')}."


def _bugcheck_cause(crash: KernelCrash, summary: Summary | None, who: str) -> str:
    """Explains a bugcheck in one sentence, from its code and kind, and names the module at fault."""
    known = bugcheck.lookup(crash.code, crash.parameters)
    if not known.meaning:
        return f"{who} raised bugcheck {crash.code:#x}, which Microsoft does not document."
    if known.cause == "request":
        if summary is not None and not _asked_by_a_driver(summary):
            return f"The crash was asked for: {known.meaning}."
        return f"{who} crashed the system on purpose: bugcheck {crash.code:#x} is only raised deliberately."
    what = "; ".join(filter(None, (known.meaning, known.kind)))
    named = summary is not None and summary.fault_source in _NAMES_CODE
    if known.cause != "driver" and not named:
        return f"{_NOT_A_DRIVER[known.cause]}: {what}."
    raised = bugcheck.raised(crash.code, crash.parameters)
    if raised:
        code, information = raised
        did = cause(code, _information(crash, summary) or information)
        called = "called code that " if summary and summary.fault_source == "stack" else ""
        did = did or f"raised {exception_name(code) or f'exception {code:#010x}'}"
        return f"{who} {called}{did}: {what}."
    if known.parameters[0].role == "touched":
        return f"{who} touched {address_words(crash.parameters[0])}: {what}."
    return f"{who} is at fault: {what}."


def _asked_by_a_driver(summary: Summary) -> bool:
    """Whether a driver certainly is on the stack that asked for the crash."""
    module = summary.fault.module if summary.fault else None
    return module is not None and not summary.guessed and not is_core(module)


def _explanation(crash: KernelCrash, summary: Summary | None) -> str:
    return bugcheck.explanation(crash.code, crash.parameters, _information(crash, summary))


def _information(crash: KernelCrash, summary: Summary | None) -> tuple[int, ...]:
    """Parameters of the exception behind a bugcheck, when the dump holds its record."""
    raised = bugcheck.raised(crash.code, crash.parameters)
    record = summary.exception if summary else None
    return record.parameters if raised and record and record.code & 0xFFFFFFFF == raised[0] else ()


def _who(place: Place | None) -> str:
    if place is None or not place.module:
        return "The driver"
    if not place.frames:
        return f"{place.module}+{place.offset or 0:#x}"
    frame = place.frames[0]
    where = f" ({frame.file}:{frame.line})" if frame.file else ""
    return f"{place.module}, {frame.function}{where},"


def _exception_cause(crash: KernelCrash) -> str:
    """Says how the code raised an exception; parameters: code, instruction, address accessed, access."""
    words = exception_name(crash.code) or f"exception {crash.code:#010x}"
    _, _, accessed, access = (*crash.parameters, 0)[:4] if len(crash.parameters) > 2 else (0, 0, None, 0)
    information = (access, accessed) if accessed is not None else ()
    return cause(crash.code, information) or f"raised an exception that nothing handled: {words}"


def analysis_markdown(document: dict[str, Any]) -> str:
    """The analysis as Markdown. Text from the guest is put into code spans, where it is no markup."""
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
        lines += ["", "## Stack", "", *(f"    {_frame_line(frame)}" for frame in document["stack"])]
    if document["dbgprint_tail"]:
        lines += ["", "## Debug output before it", "", *(f"    {line}" for line in document["dbgprint_tail"])]
    if document["warnings"]:
        lines += ["", "## Warnings", "", *(f"- {code(warning)}" for warning in document["warnings"])]
    return "\n".join(lines) + "\n"


def _frame_line(frame: dict[str, Any]) -> str:
    if frame.get("found") == Found.SCAN.value:
        return f"{_place_line(frame)}  (by a scan of the stack)"
    return _place_line(frame) + ("  (derived from a guess)" if frame.get("guessed") else "")


def _place_line(place: dict[str, Any]) -> str:
    where = f"{place['module']}+{place['offset']:#x}" if place["module"] else f"{place['address']:#x}"
    frames = [f"{frame['function']} ({frame['file']}:{frame['line']})" for frame in place["frames"]]
    return printable("  ".join((where, " inlined into ".join(frames))).rstrip())
