"""Runs scenarios in a guest, one after another, and turns what happens into results, crashes included."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from harness.agent.conversation import Stuck
from harness.agent.protocol import Finished
from harness.agent.session import Debugging, ScenarioCrash
from harness.bundle.write import LOADED, UNLOADED
from harness.crash.expectation import describe, mismatch
from harness.deadline import Deadline
from harness.errors import DriverCrashError, DriverLoadError, InfrastructureError
from harness.host.interrupts import deferred
from harness.interfaces import SeesExceptions
from harness.journal import StepKind
from harness.machine.channels import bound
from harness.outcome import (
    CrashRecord,
    DebugRecord,
    KernelCrash,
    Outcome,
    Scenario,
    ScenarioResult,
    Subresult,
)
from harness.project.config import Parameter
from harness.project.patterns import unmatched
from harness.run.artifacts import Artifacts
from harness.run.blame import NOT_EXPECTED, blamed, is_early, presumption
from harness.run.crashes import CrashKeeper
from harness.run.guest_limits import missing_line_limit, unload_limit
from harness.run.guest_session import GuestSession
from harness.run.lifecycle import unload_result, went_down
from harness.run.lost import explained, keep_lost
from harness.run.silence import judged, overdue

LATE_GRACE_S = 3.0
"""How long after a scenario's end an expected debug line may still arrive: Wine answers CreateFile and
CloseHandle before the driver has seen them."""
POLL_S = 0.02
NOT_SHOWN = "Not shown on this guest"


class Bench:
    """A guest that runs scenarios.

    A scenario's failure and a crash are results. If the infrastructure fails during a scenario, that scenario
    is `LOST`, and the guest is restored before the next one; if it cannot be restored, `run` raises.

    Args:
        resources: the machine and everything under it; closed by `close`, after the guest was disconnected.

    Attributes:
        guest: the running guest.
        crashes: keeps the evidence of the guest's crashes.
        debugging: who debugs the scenarios; None if nobody does.
        unloads: results of drivers that went down in their unload routine.
    """

    def __init__(self, guest: GuestSession, artifacts: Artifacts, resources: ExitStack) -> None:
        self.guest = guest
        self.crashes = CrashKeeper(guest, artifacts)
        self.debugging: Debugging | None = None
        self.unloads: list[ScenarioResult] = []
        self._artifacts = artifacts
        self._journal = artifacts.journal
        self._resources = resources
        self._before = (0, "")
        """Number and name of the scenario that ran last."""
        self._crashed_builds: dict[str, CrashRecord | None] = {}
        """Builds that crashed in DriverEntry, with the crash until a scenario's result has it."""
        resources.callback(guest.disconnect)

    def hold(self, hold: Callable[[GuestSession, CrashRecord], None]) -> None:
        """Leaves the guest as it is at an unexpected crash, and its kernel halted, until `hold` returns."""
        self.guest.hold_crashes()
        self.crashes.hold = hold

    def connect(self, build: str) -> None:
        """Deploys agent and drivers, starts the agent, loads one build.

        A guest that another process handed over gets only the files that changed. If this fails, the guest is
        restored and tried again: only a failure in a freshly restored guest counts.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError, ContractError: the driver is refused.
            DriverCrashError: it crashes in DriverEntry, or never returns from it.
        """
        if not self.guest.handed_over:
            self.guest.deploy()
            self.guest.meet()
        else:
            try:
                self.guest.take_over()
                self.load(build)
            except (InfrastructureError, DriverLoadError) as error:
                self._journal.note(f"the warm guest is restored: {error.message}")
                self.guest.give_up()
                self._crashed_builds.clear()
        self.load(build)

    def load(self, build: str) -> None:
        """Loads a driver build in place of what is loaded, which may be this one already.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError, ContractError: the driver is refused.
            DriverCrashError: it crashes in DriverEntry, or never returns from it.
        """
        self.guest.recover()
        self._load(build)

    def unload(self) -> None:
        """Stops and removes the driver's service; nothing to do when no build is loaded.

        A guest in which no such driver unloads is given up, with a note.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError: the driver does not stop.
            DriverCrashError: it crashes in its unload routine, or never returns from it.
        """
        if not self.guest.answers or not self.guest.loaded:
            return
        answer = self.guest.unload()
        if isinstance(answer, KernelCrash):
            raise self._went_down(answer, UNLOADED)
        if not answer.ok and (limit := unload_limit(self.guest)):
            self._journal.note(f"{NOT_SHOWN}: how the driver unloads. {limit}")
            self.guest.give_up()
        elif not answer.ok:
            raise DriverLoadError(
                f"The driver cannot be unloaded: {answer.message.rstrip('.')}.",
                remedy="Close every handle to its devices, and check its DriverUnload.",
            )

    def take_crash(self, blamed: str) -> None:
        """Keeps the evidence of a crash that happened while no scenario ran, and gives up the guest."""
        if self.guest.answers and (crash := self.guest.agent.crash()):
            self.crashes.keep(crash, blamed)

    def run(
        self, scenario: Scenario, parameters: Mapping[str, Parameter] | None = None, **replayed: Any
    ) -> ScenarioResult:
        """Runs one scenario to its end: a pass, a failure, a crash or a lost guest.

        Args:
            parameters: override those of the payload.
            replayed: `operations` and `linger_s` of `AgentSession.run`, replayed in the scenario's place.

        Raises:
            InfrastructureError: the guest could not be restored for it.
        """
        started, clock = time.time(), time.monotonic()
        scenario_id = self.guest.next_id()
        with self._journal.step(StepKind.SCENARIO, f"scenario {scenario.name}") as found:
            values = {**self.guest.payload.parameters, **(parameters or {})}
            result = self._run(scenario, scenario_id, values, replayed)
            found["outcome"] = result.outcome
        self._before = (scenario_id, scenario.name)
        bound(self.guest.machine.channels)
        return dataclasses.replace(
            result,
            started=started,
            seconds=round(time.monotonic() - clock, 3),
            build=self._build(scenario),
            file=scenario.file,
            line=scenario.line,
        )

    def close(self) -> None:
        """Ends agent, machine and everything under it; safe to repeat."""
        with self._journal.step(StepKind.END, "end guest"), deferred():
            self._resources.close()

    def _run(
        self,
        scenario: Scenario,
        scenario_id: int,
        parameters: Mapping[str, Parameter],
        replayed: Mapping[str, Any],
    ) -> ScenarioResult:
        failed = ScenarioResult(scenario.name, scenario.kind, Outcome.ERROR)
        if self._build(scenario) in self._crashed_builds:
            return self._without_driver(failed, self._build(scenario))
        self.guest.recover()
        self.crashes.runs(scenario, parameters)
        try:
            answer = self._answer(scenario, scenario_id, parameters, replayed)
        except DriverCrashError:
            return self._without_driver(failed, self._build(scenario))
        except DriverLoadError as error:
            self.guest.loaded = ""
            return dataclasses.replace(failed, message=str(error), detail=error.detail)
        except InfrastructureError as error:
            self.guest.give_up()
            return dataclasses.replace(
                failed,
                outcome=Outcome.LOST,
                message=explained(self.guest.machine, str(error)),
                detail=error.detail,
                dbgprint=self.guest.debug.slice(scenario_id),
                notes=keep_lost(self.guest.machine, self._artifacts.lost_folder(scenario.name)),
            )
        if isinstance(answer, ScenarioCrash):
            answer = judged(answer, self.guest, scenario_id)
        if isinstance(answer, ScenarioCrash):
            return self._crashed(
                scenario,
                scenario_id,
                blamed(answer, scenario, self._before, self.guest.machine.channels.journal),
            )
        if isinstance(answer, Stuck):
            self.guest.give_up()
            return dataclasses.replace(
                failed,
                message=overdue(answer, scenario.name, scenario.deadline_s),
                detail=answer.stack,
                dbgprint=self.guest.debug.slice(scenario_id),
            )
        return self._finished(scenario, scenario_id, answer)

    def _answer(
        self,
        scenario: Scenario,
        scenario_id: int,
        parameters: Mapping[str, Parameter],
        replayed: Mapping[str, Any],
    ) -> Finished | ScenarioCrash | Stuck:
        self._load(self._build(scenario))
        return self.guest.agent.run(
            scenario_id,
            scenario.name,
            Deadline.after(scenario.deadline_s),
            parameters,
            self.debugging,
            seed=self.guest.payload.seed,
            **replayed,
        )

    def _load(self, build: str) -> None:
        """Loads a build in a guest that answers; raises as `load`."""
        if crash := self._vacate(build):
            self.add_unload(self.crashes.keep(crash, UNLOADED))
            self.guest.recover()
        if crash := self.guest.load(build):
            error = self._went_down(crash, LOADED)
            if isinstance(error, DriverCrashError):
                self._crashed_builds[build] = self.crashes.last
            raise error

    def add_unload(self, crash: CrashRecord) -> None:
        """Adds to the run's results that a driver went down in its unload routine, if it is to blame."""
        if not crash.report.hint.limit:
            self.unloads.append(unload_result(crash, self.guest.newest))
            self._artifacts.add(self.unloads[-1])
            self._journal.warn(f"{self.unloads[-1].message} {crash.cause}")

    def _vacate(self, build: str) -> KernelCrash | None:
        """Takes out a driver that is loaded in this one's place; a guest that it stays in is restored."""
        if self.guest.loaded == build or not self.guest.occupied:
            return None
        answer = self.guest.unload()
        if isinstance(answer, KernelCrash):
            return answer
        if not answer.ok:
            why = unload_limit(self.guest) or answer.message
            self._journal.note(f"the guest is restored, since the driver before does not unload: {why}")
            self.guest.restore()
        return None

    def _without_driver(self, failed: ScenarioResult, build: str) -> ScenarioResult:
        """The result of a scenario whose build crashes in DriverEntry, which is tried once in a run."""
        if crash := self._crashed_builds[build]:
            self._crashed_builds[build] = None
            outcome = Outcome.HUNG if crash.kind == "hang" else Outcome.CRASHED
            detail = f"{crash.cause}\n{crash.text}"
            notes = crash.notes if crash.kind == "hang" else ()
            message = f"{went_down(crash, LOADED)}."
            return dataclasses.replace(
                failed, outcome=outcome, message=message, detail=detail, crash=crash, notes=notes
            )
        return dataclasses.replace(
            failed, message=f"Not run: build {build} crashed in its DriverEntry earlier in this run."
        )

    def _build(self, scenario: Scenario) -> str:
        return scenario.build or self.guest.builds[0]

    def _finished(self, scenario: Scenario, scenario_id: int, answer: Finished) -> ScenarioResult:
        outcome, message = Outcome(answer.outcome), answer.message
        records = self.guest.debug.slice(scenario_id)
        if outcome is Outcome.PASSED and scenario.expect_crash:
            outcome, message = Outcome.FAILED, "The scenario ended, but it expected to crash the guest."
        if outcome is Outcome.PASSED:
            patterns = dict.fromkeys((*scenario.expect_dbgprint, *answer.expect_dbgprint))
            records, missing = self._printed(scenario_id, patterns)
            if missing:
                outcome, message = Outcome.FAILED, missing
        stream = self.guest.debug
        caught = stream.caught(records) if isinstance(stream, SeesExceptions) else ""
        if outcome in (Outcome.FAILED, Outcome.ERROR):
            self.guest.loaded = ""  # driver state left by a failed scenario must not fail the next one
        return ScenarioResult(
            scenario.name,
            scenario.kind,
            outcome,
            message,
            answer.detail,
            guest_seconds=answer.seconds,
            operations=answer.operations,
            dbgprint=records,
            notes=(*answer.notes, *([caught] if caught else [])),
            subresults=tuple(
                Subresult(test.name, Outcome(test.outcome), test.message) for test in answer.subresults
            ),
        )

    def _printed(self, scenario_id: int, patterns: Iterable[str]) -> tuple[tuple[DebugRecord, ...], str]:
        """A scenario's debug output, and the expected lines still missing `LATE_GRACE_S` after its end."""
        records, deadline = self.guest.debug.slice(scenario_id), Deadline.after(LATE_GRACE_S)
        for _ in deadline.tries(every=POLL_S):
            if not (missing := unmatched(patterns, records)):
                break
            records = self.guest.debug.slice(scenario_id, late=True)
        if missing and (limit := missing_line_limit(self.guest)):
            missing = f"{missing} Note: {limit}."
        return records, missing

    def _crashed(self, scenario: Scenario, scenario_id: int, came: ScenarioCrash) -> ScenarioResult:
        early = came.report.kind != "hang" and is_early(scenario_id, self.guest.machine.channels.journal)
        own = scenario.expect_crash if came.scenario == scenario.name and not early else None
        expected = own is not None and not mismatch(own, came.report)
        presumed = "" if expected else presumption(came, scenario, self.crashes.earlier(scenario.name))
        crash = self.crashes.keep(came.report, came.scenario, expected=expected, presumed=presumed)
        records = self.guest.debug.slice(scenario_id)
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

    def _went_down(self, report: KernelCrash, doing: str) -> DriverLoadError:
        """Keeps the evidence of a crash in DriverEntry or the unload routine; returns the error to raise."""
        crash = self.crashes.keep(report, doing)
        if limit := crash.report.hint.limit:
            return DriverLoadError(
                f"{NOT_SHOWN}: {limit}. {went_down(crash, doing)}.",
                remedy=f"Run it on a Windows guest; its evidence is in {crash.folder}.",
                detail=crash.cause,
            )
        return DriverCrashError(
            f"{went_down(crash, doing)}.",
            remedy=f"Look at its evidence in {crash.folder}.",
            detail=crash.cause,
        )
