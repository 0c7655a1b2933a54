"""A result that did not pass, as lines for a terminal: cause, line of the driver, operation, how to replay.

`winvm run`, `winvm smoke` and pytest print the same lines. Everything from the guest is made printable.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.display.terminal import lines_of, printable, wrapped
from harness.outcome import CrashRecord, ScenarioResult
from harness.report.evidence import analysis_of, calls

LABEL = 11
"""Columns of the labels in front of what is known of a crash."""
OPERATION_AFTER = "; last operation: "
DBGPRINT_LINES = 40
NOTE_LINES = 40


def result_lines(result: ScenarioResult, folders: Iterable[Path]) -> list[str]:
    """Outcome and message first, then the traceback, or what is known of the crash.

    Args:
        folders: paths in the driver's debug information may be relative to one of these.
    """
    message = " ".join(lines_of(result.message))
    crash = result.crash
    if crash is None:
        return [*wrapped(f"{result.outcome}: {message}"), *lines_of(_located(result))]
    what, found, _ = message.partition(OPERATION_AFTER)
    ordinary = found and crash.cause and crash.scenario == result.name.partition("@")[0]
    headline = printable(crash.cause) if ordinary else message
    lines = wrapped(f"{result.outcome}: {headline}")
    if not ordinary and crash.cause:
        lines += _labelled("cause", crash.cause)
    elif what:
        lines += _labelled("report", what)
    if crash.text and crash.text not in what:
        lines += _labelled("said", crash.text)
    if place := _driver_line(crash, folders):
        lines += _labelled("at", place)
    lines += _labelled("operation", crash.last_operation or "none journalled")
    lines.append(f"  {'evidence':{LABEL}}{os.path.relpath(crash.folder)}")
    if crash.bundle:  # on one line, so that it can be pasted
        bundle = shlex.quote(os.path.relpath(crash.folder.parent / Path(crash.bundle).name))
        lines.append(f"  {'reproduce':{LABEL}}winvm reproduce {bundle}")
    return lines


def printed_lines(result: ScenarioResult) -> Iterator[str]:
    """The end of what the scenario noted or printed, and of what the driver printed; for smoke's results."""
    if result.notes:
        yield "notes and print():"
        yield from (f"    {line}" for note in result.notes[-NOTE_LINES:] for line in lines_of(note))
    said = [record.text for record in result.dbgprint if record.source == "dbgprint"]
    if said:
        yield f"DbgPrint{f', last {DBGPRINT_LINES} lines' if len(said) > DBGPRINT_LINES else ''}:"
        yield from (f"    {printable(line)}" for line in said[-DBGPRINT_LINES:])


def _located(result: ScenarioResult) -> str:
    """The detail; the scenario's file, which the guest has in its archive, by its path from here."""
    if not result.file:
        return result.detail
    archived = f'File "scenarios/{Path(result.file).name}"'
    return result.detail.replace(archived, f'File "{os.path.relpath(result.file)}"')


def _labelled(label: str, text: str) -> list[str]:
    return wrapped(f"  {label:{LABEL}}{' '.join(lines_of(text))}", indent=LABEL + 2)


def _driver_line(crash: CrashRecord, folders: Iterable[Path]) -> str:
    """The innermost line of the driver's own code, `src/echo.c:12 in EchoRead`, as an editor opens it."""
    for call in calls(analysis_of(crash.folder)):
        if call.own:
            guess = f" ({call.guess})" if call.guess else ""
            return f"{_path(call.file, folders)}:{call.line} in {call.function}{guess}"
    return ""


def _path(named: str, folders: Iterable[Path]) -> str:
    """A source's path from here if it exists in one of the folders; else as the debug information has it."""
    for folder in folders:
        try:
            path = folder / named.replace("\\", "/")
            if path.is_file():
                return printable(os.path.relpath(path))
        except (OSError, ValueError):
            continue
    return printable(named)
