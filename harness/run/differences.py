"""Known differences of a guest's kernel: a result that its profile foretells is no failure, and is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from harness.outcome import Outcome, ScenarioResult
from harness.project.profile import Difference

_FORETOLD = {
    "failed": frozenset({Outcome.FAILED, Outcome.ERROR}),
    "crashed": frozenset({Outcome.CRASHED}),
    "hung": frozenset({Outcome.HUNG}),
}


def applied(known: Iterable[Difference], result: ScenarioResult) -> ScenarioResult:
    """The result, or `DIFFERS` in place of a bad outcome that one of these differences foretells.

    What the scenario said and a crash's evidence stay. A difference that foretells something else changes no
    outcome; the result notes it, so that data which are no longer true are found.
    """
    if result.outcome is Outcome.SKIPPED:
        return result
    for one in known:
        if not one.names(result.name):
            continue
        if result.outcome in _FORETOLD[one.ends] and _same_crash(one, result):
            found = f"{result.outcome}: {result.message}" if result.message else str(result.outcome)
            return dataclasses.replace(
                result,
                outcome=Outcome.DIFFERS,
                message=f"differs here: {one.reason}",
                detail="\n".join(filter(None, (found, result.detail))),
                notes=(*result.notes, f"known difference of this guest; evidence: {one.evidence}"),
            )
        note = (
            f"the guest's profile says that this scenario {_ends(one)} here, which it did not: {one.reason}"
        )
        return dataclasses.replace(result, notes=(*result.notes, note))
    return result


def _same_crash(one: Difference, result: ScenarioResult) -> bool:
    return one.ends != "crashed" or (result.crash is not None and result.crash.code == one.code)


def _ends(one: Difference) -> str:
    return {"failed": "fails", "crashed": f"crashes with 0x{one.code or 0:x}", "hung": "hangs"}[one.ends]
