"""A crash's signature: the same fault has the same one in another run, in another build, at another address.

It is `<what>-<module>-<function>`: the bugcheck or exception code in hex, the blamed module, its function.
For a hang the third part is the scenario. Without symbols it is left out: an offset belongs to one build.
If several sources of the module have a function of this name, the source follows: `...-Read-async.c`. No
part contains a hyphen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.dumps.bugcheck import base_code
from harness.dumps.summary import Frame, Place, Summary

if TYPE_CHECKING:
    from harness.outcome import KernelCrash

MAX_LENGTH = 120
_UNSAFE = re.compile(r"[^A-Za-z0-9_.]+")
_DECORATION = re.compile(r"\.(?:llvm|constprop|isra|part|cold)(?:\.\d+)?|@\d+$")


def signature(kind: str, code: int, place: Place | None) -> str:
    """The signature, fit for a file name.

    Args:
        kind: as `harness.outcome.KernelCrash.kind`.
        code: of the bugcheck or exception; not used for other kinds.
        place: the place to blame.
    """
    if kind == "bugcheck":
        what = f"{base_code(code):x}"
    elif kind == "exception":
        what = f"{code & 0xFFFFFFFF:08x}"
    else:
        what = kind
    module = place.module if place and place.module else "unknown"
    module = module.lower().replace("<unloaded ", "unloaded_").rstrip(">")
    frame = naming_frame(place) if place else None
    function = _DECORATION.sub("", frame.function) if frame else ""
    parts = (what, module, function)
    source = [source_name(place)] if place and frame and frame.shared else []
    return "-".join(part for part in (*(_UNSAFE.sub("_", part) for part in parts), *source) if part)[
        :MAX_LENGTH
    ]


def naming_frame(place: Place) -> Frame | None:
    """The frame that gives a place its function's name; None where no symbols are known.

    The innermost frame is the function as written, whatever this build's compiler inlined it into. An
    intrinsic from a system header is skipped.
    """
    named = (frame for frame in place.frames if not frame.function.startswith("_"))
    return next(named, place.frames[0] if place.frames else None)


def source_name(place: Place | None) -> str:
    """Base name of the source of a place's function, as a signature holds it; empty if unknown."""
    frame = naming_frame(place) if place else None
    return _UNSAFE.sub("_", frame.file.replace("\\", "/").rpartition("/")[2]) if frame else ""


def without_source(signature: str) -> str:
    """A signature without the source that distinguishes functions of one name."""
    return "-".join(signature.split("-")[:3])


def recurs(known: str, seen: str) -> bool:
    """Whether `seen` is the crash `known`, whose signature may be from a version without sources."""
    return known in (seen, without_source(seen))


def crash_signature(crash: KernelCrash, summary: Summary | None, driver: str = "", scenario: str = "") -> str:
    """The signature of a captured crash.

    Args:
        summary: of its dump; None when there is none.
        driver: file name of the driver under test, which is blamed when no dump names another module.
        scenario: the scenario the crash is attributed to; it distinguishes hangs.
    """
    place = summary.fault if summary and summary.fault and summary.fault.module else None
    if crash.kind not in ("bugcheck", "exception"):
        # A hang or flood has no address: the scenario distinguishes it from others.
        place = Place(0, driver or None, frames=(Frame(scenario),))
    return signature(crash.kind, crash.code, place or Place(0, driver or None))


def dump_signature(summary: Summary) -> str:
    """The signature of a dump found without its crash."""
    if summary.type == "user-minidump":
        code = summary.exception.code if summary.exception else 0
        return signature("exception", code, summary.fault)
    return signature("bugcheck", summary.bugcheck.code if summary.bugcheck else 0, summary.fault)
