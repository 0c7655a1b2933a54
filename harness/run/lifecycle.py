"""What is told of a driver that goes down as it is loaded or unloaded, when no scenario runs."""

from __future__ import annotations

from harness.bundle.write import LOADED
from harness.crash.expectation import describe
from harness.outcome import CrashRecord, Outcome, Scenario, ScenarioResult

UNLOAD = "driver.unload"
"""Name of the result of a driver that goes down in its unload routine."""


def went_down(crash: CrashRecord, doing: str) -> str:
    """What it did, as the beginning of a sentence. doing: `LOADED` or `UNLOADED`."""
    if crash.kind == "hang":
        routine = "DriverEntry" if doing == LOADED else "DriverUnload"
        return f"{routine} did not return: {crash.text.rstrip('.')}"
    return f"The driver crashed while it was {doing}: {describe(crash.report)}"


def driver_result(
    crash: CrashRecord, doing: str, build: str = "", scenario: Scenario | None = None
) -> ScenarioResult:
    """The result of a driver that went down.

    Args:
        doing: `LOADED` or `UNLOADED`.
        build: the one that was loaded or unloaded.
        scenario: the one that the driver was loaded for; without one, the result is called `UNLOAD`.
    """
    hung = crash.kind == "hang"
    return ScenarioResult(
        scenario.name if scenario else UNLOAD,
        scenario.kind if scenario else "driver",
        Outcome.HUNG if hung else Outcome.CRASHED,
        f"{went_down(crash, doing)}.",
        f"{crash.cause}\n{crash.text}",
        build=build,
        crash=crash,
        notes=crash.notes if hung else (),
    )
