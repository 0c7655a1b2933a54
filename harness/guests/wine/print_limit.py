"""Crashes and missing lines of right drivers whose DbgPrint has %wZ or %Z: Wine takes no argument for it.

The witness of a crash is its stack: the fault is not in the driver, and the driver's innermost frame is at
such a print. A frame that a scan of the stack found makes the limit a possible cause only.
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


def crash_limit(analysis: Mapping[str, Any], driver: Path) -> CrashLimit | None:
    """Why Wine alone crashed here; None if no such print is there.

    Args:
        analysis: content of analysis.json.
        driver: the `.sys` that crashed, with its PDB beside it.
    """
    stack: Sequence[Mapping[str, Any]] = analysis["stack"]
    inner = next((frame for frame in stack if _is_of(frame, driver)), None)
    if inner is None or inner is stack[0]:
        return None
    near = [
        (abs(int(frame["line"]) - one.place.line), index, one)
        for index, one in enumerate(_prints(driver))
        for frame in inner["frames"]
        if one.dereferences and _is_at(frame, one)
    ]
    if not near:
        return None
    *_, one = min(near)
    text = (
        f"the crash is inside the print at {_place(one)}, {one.text!r}: Wine takes no argument for %wZ and "
        "%Z, so what follows got another one's"
    )
    return CrashLimit(text, not inner.get("guessed") and inner["found"] != Found.SCAN.value)


def missing_line_limit(driver: Path) -> str:
    """What to know when expected debug output is missing; empty if the driver has no such print."""
    found = sorted(_prints(driver), key=lambda one: (_base(one.place.file), one.place.line))
    places = list(dict.fromkeys(map(_place, found)))
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


def _is_at(frame: Mapping[str, Any], one: ShiftedPrint) -> bool:
    same = frame["function"] == one.place.function and _base(frame["file"]) == _base(one.place.file)
    return same and abs(int(frame["line"]) - one.place.line) <= _LINES


def _place(one: ShiftedPrint) -> str:
    return f"{_base(one.place.file)}:{one.place.line}"


def _base(file: str) -> str:
    return PurePosixPath(file.replace("\\", "/")).name
