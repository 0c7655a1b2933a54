"""The end of a run: the driver is unloaded; if it goes down in its unload routine, that is a result."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import DriverCrashError, DriverLoadError, InfrastructureError
from harness.outcome import ScenarioResult
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench


def finish(bench: Bench, artifacts: Artifacts, *, unload: bool = True) -> Sequence[ScenarioResult]:
    """Unloads the driver and closes the bench. unload: not if the run was interrupted.

    A driver that cannot be unloaded, as one without an unload routine, and a guest that is lost meanwhile
    are warned of.

    Returns:
        A result for each crash in the unload routine, and each that never returned, in the whole run.
    """
    try:
        if unload:
            bench.unload()
    except DriverCrashError:
        if bench.crashes.last is None:
            raise
        bench.add_unload(bench.crashes.last)
    except (DriverLoadError, InfrastructureError) as error:
        artifacts.journal.warn(f"the driver is not unloaded at the end: {error.message}")
    finally:
        bench.close()
    return bench.unloads
