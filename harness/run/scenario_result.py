"""The result of one scenario: of the agent's answer, or of the crash that came in its place."""

from __future__ import annotations

from collections.abc import Iterable

from harness.agent.protocol import Finished
from harness.agent.session import ScenarioCrash
from harness.crash.expectation import describe, mismatch
from harness.deadline import Deadline
from harness.interfaces import SeesExceptions
from harness.outcome import DebugRecord, Outcome, Scenario, ScenarioResult, Subresult
from harness.project.patterns import unmatched
from harness.run.blame import NOT_EXPECTED, is_early, presumption
from harness.run.crashes import CrashKeeper
from harness.run.guest_limits import missing_line_limit
from harness.run.guest_session import GuestSession
from harness.run.kept import kept_notes

LATE_GRACE_S = 3.0
"""How long after a scenario's end an expected debug line may still arrive: Wine answers CreateFile and
CloseHandle before the driver has seen them."""
POLL_S = 0.02
NOT_SHOWN = "Not shown on this guest"


def finished(guest: GuestSession, scenario: Scenario, scenario_id: int, answer: Finished) -> ScenarioResult:
    """The result of a scenario that ran to its end, with what it was to print."""
    outcome, message = Outcome(answer.outcome), answer.message
    records = guest.debug.slice(scenario_id)
    if outcome is Outcome.PASSED and scenario.expect_crash:
        outcome, message = Outcome.FAILED, "The scenario ended, but it expected to crash the guest."
    if outcome is Outcome.PASSED:
        patterns = dict.fromkeys((*scenario.expect_dbgprint, *answer.expect_dbgprint))
        records, missing = _printed(guest, scenario_id, patterns)
        if missing:
            outcome, message = Outcome.FAILED, missing
    stream = guest.debug
    caught = stream.caught(records) if isinstance(stream, SeesExceptions) else ""
    kept = kept_notes(stream, records, guest.driver_file)
    return ScenarioResult(
        scenario.name,
        scenario.kind,
        outcome,
        message,
        answer.detail,
        guest_seconds=answer.seconds,
        operations=answer.operations,
        dbgprint=records,
        notes=(*answer.notes, *([caught] if caught else []), *kept),
        subresults=tuple(
            Subresult(test.name, Outcome(test.outcome), test.message) for test in answer.subresults
        ),
    )


def crashed(
    guest: GuestSession, crashes: CrashKeeper, scenario: Scenario, scenario_id: int, came: ScenarioCrash
) -> ScenarioResult:
    """The result of a scenario in which the guest went down, whose evidence is kept; expected or not.

    came: with the scenario to blame, see `harness.run.blame`.
    """
    early = came.report.kind != "hang" and is_early(scenario_id, guest.machine.channels.journal)
    own = scenario.expect_crash if came.scenario == scenario.name and not early else None
    expected = own is not None and not mismatch(own, came.report)
    presumed = "" if expected else presumption(came, scenario, crashes.earlier(scenario.name))
    crash = crashes.keep(came.report, came.scenario, expected=expected, presumed=presumed)
    records = guest.debug.slice(scenario_id)
    if limit := crash.report.hint.limit:
        message = f"{NOT_SHOWN}: {limit}. Its evidence is in {crash.folder}."
        return ScenarioResult(
            scenario.name, scenario.kind, Outcome.SKIPPED, message, crash.cause, dbgprint=records
        )
    if own:
        message = mismatch(own, crash.report)
        outcome = Outcome.CRASHED if message else Outcome.PASSED
        if not message and (message := unmatched(scenario.expect_dbgprint, records)):
            outcome = Outcome.FAILED
    else:
        outcome = Outcome.HUNG if crash.kind in ("hang", "flood") else Outcome.CRASHED
        message = f"{describe(crash.report)}; last operation: {crash.last_operation or 'none journalled'}"
        if crash.scenario != scenario.name:
            how = "Ended before its first operation: presumably" if came.began else "Not run:"
            message = f"{how} {crash.scenario} took the driver down after its end. {message}"
        elif presumed:
            message = f"{presumed} {message}"
        if scenario.expect_crash and early:
            message = f"{NOT_EXPECTED} {message}"
    return ScenarioResult(
        scenario.name,
        scenario.kind,
        outcome,
        message,
        f"{crash.cause}\n{crash.text}",
        dbgprint=records,
        crash=crash,
        notes=(*came.notes, *(crash.notes if crash.kind == "hang" else ())),
    )


def _printed(
    guest: GuestSession, scenario_id: int, patterns: Iterable[str]
) -> tuple[tuple[DebugRecord, ...], str]:
    """A scenario's debug output, and the expected lines still missing `LATE_GRACE_S` after its end."""
    records, deadline = guest.debug.slice(scenario_id), Deadline.after(LATE_GRACE_S)
    for _ in deadline.tries(every=POLL_S):
        if not (missing := unmatched(patterns, records)):
            break
        records = guest.debug.slice(scenario_id, late=True)
    if missing and (limit := missing_line_limit(guest)):
        missing = f"{missing} Note: {limit}."
    return records, missing
