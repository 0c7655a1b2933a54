"""Names the driver's function for an exception whose stack does not: a guess, and marked as one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from harness.crash.dispatch import SOURCE as DISPATCH
from harness.crash.dispatch import dispatch_routine
from harness.crash.last_print import SOURCE as LAST_PRINT
from harness.crash.last_print import last_print
from harness.dumps.attribution import is_core
from harness.dumps.summary import Summary
from harness.outcome import KernelCrash

WITNESSES = {
    LAST_PRINT: "the driver printed last in",
    DISPATCH: "the request was dispatched to",
}
"""Fault sources of such guesses, in words."""
_MAX_IMAGES = 64


def needs_witness(crash: KernelCrash, summary: Summary | None, driver: str) -> bool:
    """Whether an exception's stack does not show which function of the driver is at fault."""
    if crash.kind != "exception" or crash.hint.cause:
        return False
    place = summary.fault if summary else None
    if summary is None or summary.returned_to or place is None or not place.module:
        return True
    return is_core(place.module, driver)


def with_witness(
    crash: KernelCrash,
    summary: Summary | None,
    driver: str,
    symbols: Path,
    *,
    printed: Sequence[str],
    operation: str,
) -> Summary | None:
    """The summary with the function that the driver's image and what it did last lead to.

    Without a dump it is a summary of type `none` that holds nothing else.

    Args:
        driver: file name of the driver.
        symbols: folder with the driver's builds.
        printed: what the driver itself printed in the scenario, oldest first.
        operation: the last one in the agent's journal.
    """
    image = _loaded_image(crash, driver, symbols)
    if image is None:
        return summary
    place, source = last_print(image, printed), LAST_PRINT
    if place is None and summary is not None and summary.fault_source == "stack":
        return summary
    if place is None:
        place, source = dispatch_routine(image, operation), DISPATCH
    if place is None:
        return summary
    if summary is None:
        return Summary("none", "x64", {}, None, None, {}, place, source, (), (), (), False, ())
    return dataclasses.replace(summary, fault=place, fault_source=source)


def _loaded_image(crash: KernelCrash, driver: str, symbols: Path) -> Path | None:
    """The file of the build that was loaded: the only one, or the one whose folder the guest's path names."""
    found = sorted(itertools.islice(symbols.rglob(driver), _MAX_IMAGES))
    for note in crash.notes:
        parts = note.rpartition(" at ")[0].split("\\")
        if parts[-1].lower() == driver.lower() and len(parts) > 1:
            named = [image for image in found if image.parent.name.lower() == parts[-2].lower()]
            found = named or found
    return found[0] if len(found) == 1 else None
