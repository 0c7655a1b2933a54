"""Crashes and missing lines of right drivers whose DbgPrint has %wZ or %Z: Wine takes no argument for it.

The witness of a crash is its stack: the fault is not in the driver, and the driver's innermost frame is at
such a print: at its line, or without a PDB a few bytes behind the code that takes its format. A frame that a
scan of the stack found makes the limit a possible cause only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pefile

from harness.dumps.summary import Found
from harness.guests.protocol import CrashLimit
from harness.toolchain.wine_limits import ShiftedPrint, shifted_prints

_LINES = 3
"""A call over several lines: the code that takes the format and the call may be this far apart."""
_BYTES = 64
"""Without lines: the code of a call's arguments, and the call itself."""


def crash_limit(analysis: Mapping[str, Any], driver: Path) -> CrashLimit | None:
    """Why Wine alone crashed here; None if no such print is there.

    Args:
        analysis: content of analysis.json.
        driver: the `.sys` that crashed; its PDB beside it gives the places.
    """
    stack: Sequence[Mapping[str, Any]] = analysis["stack"]
    inner = next((frame for frame in stack if _is_of(frame, driver)), None)
    if inner is None or inner is stack[0]:
        return None
    near = [
        (apart, index, one)
        for index, one in enumerate(_prints(driver))
        if one.dereferences
        for apart in _distances(inner, one)
    ]
    if not near:
        return None
    *_, one = min(near)
    text = (
        f"the crash is inside the print{_at(one)} {one.text!r}: Wine takes no argument for %wZ and "
        "%Z, so what follows got another one's"
    )
    return CrashLimit(text, not inner.get("guessed") and inner["found"] != Found.SCAN.value)


def missing_line_limit(driver: Path) -> str:
    """What to know when expected debug output is missing; empty if the driver has no such print."""
    found = _prints(driver)
    named = sorted({(_base(one.place.file), one.place.line) for one in found if one.place})
    places = [f"{file}:{line}" for file, line in named]
    places += list(dict.fromkeys(repr(one.text) for one in found if not one.place))
    if not places:
        return ""
    return (
        f"Wine takes no argument for %wZ and %Z in DbgPrint, so lines of {', '.join(places[:4])} show other "
        "values than on Windows"
    )


def _prints(driver: Path) -> list[ShiftedPrint]:
    try:
        return shifted_prints(driver)
    except (OSError, pefile.PEFormatError):
        return []


def _is_of(frame: Mapping[str, Any], driver: Path) -> bool:
    return str(frame["module"] or "").lower() == driver.name.lower()


def _distances(inner: Mapping[str, Any], one: ShiftedPrint) -> list[int]:
    """Lines, or bytes where lines are not known, between a print and the frame; none if they are apart."""
    if one.place is None:
        apart = int(inner["offset"]) - one.code
        return [apart] if 0 < apart <= _BYTES else []
    place = one.place
    return [
        apart
        for frame in inner["frames"]
        if frame["function"] == place.function and _base(frame["file"]) == _base(place.file)
        if (apart := abs(int(frame["line"]) - place.line)) <= _LINES
    ]


def _at(one: ShiftedPrint) -> str:
    return f" at {_base(one.place.file)}:{one.place.line}," if one.place else ""


def _base(file: str) -> str:
    return PurePosixPath(file.replace("\\", "/")).name
