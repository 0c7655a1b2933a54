"""Reads a crash's folder for reports: analysis.json, validated, and the screenshot, bounded in size."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.display.terminal import printable
from harness.dumps.record import record
from harness.dumps.summary import Found, Place
from harness.host.regular import open_regular
from harness.outcome import CrashRecord

TEXT_CHARACTERS = 600
ANALYSIS_LIMIT = 1 << 20  # bytes
STACK_CALLS = 40
CALL_CHARACTERS = 150
SCREENSHOT_LIMIT = 512 << 10  # bytes
_PNG = b"\x89PNG\r\n\x1a\n"


def text(value: str, limit: int = TEXT_CHARACTERS) -> str:
    """One line of untrusted text for display: cut to `limit` characters, line ends as spaces, other control
    characters escaped.
    """
    return printable(value[:limit].replace("\r\n", "\n").replace("\n", " ")) + (
        " …" if len(value) > limit else ""
    )


@record
class FramePlace(Place):
    """A frame of the stack; `found` says how, see `harness.dumps.summary.Found`; `guessed`, not certain."""

    found: str = ""
    guessed: bool = False


@dataclass(frozen=True)
class Analysis:
    """analysis.json, without the parts that results.json has too."""

    signature: str = ""
    what: str = ""
    name: str = ""
    explanation: str = ""
    likely_cause: str = ""
    last_operation: str = ""
    fault: Place | None = None
    stack: tuple[FramePlace, ...] = ()
    dbgprint_tail: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """A line of a stack: `where` is module and offset, `source` a file and line, or empty.

    guess: how it was found, if it may belong to a call that has long returned; empty for a certain one.
    """

    where: str
    function: str
    source: str
    file: str
    line: int
    own: bool
    guess: str = ""


_ANALYSIS = TypeAdapter(Analysis)


def analysis_of(folder: Path | None) -> Analysis:
    """The analysis in a crash's folder; an empty one if there is none or it cannot be read."""
    if folder is None:
        return Analysis()
    try:
        with open_regular(folder / "analysis.json") as file:
            return _ANALYSIS.validate_json(file.read(ANALYSIS_LIMIT))
    except (OSError, ValidationError):
        return Analysis()


def calls(analysis: Analysis) -> list[Call]:
    """The stack, the faulting function first; each inlined function has its own line.

    A line is `own` if its source is known: then it is in the driver, whose PDB winvm has.
    """
    found = []
    places: list[Place] = list(analysis.stack)
    if (fault := analysis.fault) and not (places and places[0].address == fault.address):
        places.insert(0, fault)
    for place in places:
        guess = _guess(place) if isinstance(place, FramePlace) else ""
        module, offset = place.module, place.offset or 0
        where = text(f"{module}+{offset:#x}" if module else f"{place.address:#x}", CALL_CHARACTERS)
        if not place.frames:
            found.append(Call(where, "", "", "", 0, own=False, guess=guess))
        for frame in place.frames:
            source = f"{frame.file}:{frame.line}" if frame.file else ""
            found.append(
                Call(
                    where,
                    text(frame.function, CALL_CHARACTERS),
                    text(source, CALL_CHARACTERS),
                    frame.file,
                    frame.line,
                    own=bool(source),
                    guess=guess,
                )
            )
    return found[:STACK_CALLS]


def _guess(place: FramePlace) -> str:
    if place.found == Found.SCAN:
        return "by a scan of the stack"
    return "derived from a guess" if place.guessed else ""


def crash_folder(run: Path, crash: CrashRecord) -> Path | None:
    """The folder with a crash's evidence, also when the run's folder was moved; None if it is gone."""
    folder = run / "crashes" / crash.folder.name
    return folder if folder.is_dir() else None


def screenshot(folder: Path) -> str:
    """The screenshot as a data URI; empty if there is none, or it is larger than `SCREENSHOT_LIMIT`."""
    try:
        with open_regular(folder / "screenshot.png") as file:
            image = file.read(SCREENSHOT_LIMIT + 1)
    except OSError:
        return ""
    if len(image) > SCREENSHOT_LIMIT or not image.startswith(_PNG):
        return ""
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"
