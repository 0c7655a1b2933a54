"""What is told of a driver that goes down as it is loaded or unloaded, when no scenario runs."""

from __future__ import annotations

from harness.bundle.write import LOADED, UNLOADED
from harness.crash.expectation import describe
from harness.outcome import CrashRecord, Outcome, ScenarioResult

UNLOAD = "driver.unload"
"""Name of the result of a driver that goes down in its unload routine."""


def went_down(crash: CrashRecord, doing: str) -> str:
    """What it did, as the beginning of a sentence. doing: `LOADED` or `UNLOADED`."""
    if crash.kind == "hang":
        routine = "DriverEntry" if doing == LOADED else "DriverUnload"
        return f"{routine} did not return: {crash.text.rstrip('.')}"
    return f"The driver crashed while it was {doing}: {describe(crash.report)}"


def unload_result(crash: CrashRecord, build: str) -> ScenarioResult:
    """The result. build: the one that was unloaded."""
    outcome = Outcome.HUNG if crash.kind == "hang" else Outcome.CRASHED
    message, detail = f"{went_down(crash, UNLOADED)}.", f"{crash.cause}\n{crash.text}"
    return ScenarioResult(
        UNLOAD, "driver", outcome, message, detail, build=build, crash=crash, notes=crash.notes
    )
