"""The end of a run: the driver is unloaded; if it goes down in its unload routine, that is a result."""

from __future__ import annotations

from harness.errors import DriverCrashError, DriverLoadError, InfrastructureError
from harness.outcome import CrashRecord, Outcome, ScenarioResult
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench

UNLOAD = "driver.unload"
"""Name of that result."""


def finish(bench: Bench, artifacts: Artifacts, *, unload: bool = True) -> ScenarioResult | None:
    """Unloads the driver and closes the bench. unload: not if the run was interrupted.

    A driver that cannot be unloaded, as one without an unload routine, and a guest that is lost meanwhile
    are warned of.

    Returns:
        The result of a driver that crashes in its unload routine or never returns from it; else None.
    """
    try:
        if unload:
            bench.unload()
    except DriverCrashError as error:
        if crash := bench.crashes.last:
            result = _result(error.message, crash, bench.guest.newest)
            artifacts.add(result)
            artifacts.journal.warn(f"{error.message} {crash.cause}")
            return result
        raise
    except (DriverLoadError, InfrastructureError) as error:
        artifacts.journal.warn(f"the driver is not unloaded at the end: {error.message}")
    finally:
        bench.close()
    return None


def _result(message: str, crash: CrashRecord, build: str) -> ScenarioResult:
    outcome = Outcome.HUNG if crash.kind == "hang" else Outcome.CRASHED
    detail = f"{crash.cause}\n{crash.text}"
    return ScenarioResult(
        UNLOAD, "driver", outcome, message, detail, build=build, crash=crash, notes=crash.notes
    )
