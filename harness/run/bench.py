"""Runs scenarios in a guest, one after another, and makes results of what happens: crashes included."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.agent.protocol import Finished
from harness.bundle.manifest import BEFORE_LIMIT
from harness.bundle.write import LOADED, UNLOADED, Ran, bundled, trigger_of
from harness.crash.capture import capture
from harness.crash.expectation import describe, mismatch
from harness.crash.hang import climb
from harness.deadline import Deadline
from harness.errors import DriverLoadError, InfrastructureError
from harness.host.interrupts import deferred
from harness.journal import StepKind
from harness.machine.channels import bound
from harness.machine.protocol import MachineState
from harness.outcome import Crash, DebugRecord, Outcome, Scenario, ScenarioResult
from harness.project.config import Parameter
from harness.project.patterns import unmatched
from harness.run.deployed import LOAD_DEADLINE_S, DeployedGuest

LATE_GRACE_S = 3.0
"""How long an expected line may take that is not there when the scenario ends: Wine answers CreateFile and
CloseHandle before the driver has seen them."""
POLL_S = 0.02


class Bench(DeployedGuest):
    """A deployed guest that runs scenarios.

    A scenario's failure and a crash are results. Infrastructure that fails during a scenario makes that
    scenario `LOST`, and the guest is restored before the next; if it cannot be restored, `run` raises.

    Attributes:
        last_crash: the newest crash of the run, evidence kept.
        bundles: whether each crash gets its bundle.
    """

    last_crash: Crash | None = None
    bundles = True
    _ran: tuple[Ran, ...] = ()
    _ran_since = 0

    def connect(self, build: str) -> None:
        """Deploys agent and drivers, starts the agent, loads one build.

        A guest that was handed over gets only what changed. It is restored if that does not work: what counts
        is what a guest says that has no past.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError, ContractError: the driver is refused, or goes down in DriverEntry.
        """
        if self._handover is None:
            self._deploy()
            self._meet_agent()
        else:
            try:
                self._take_over()
                self.load(build)
            except (InfrastructureError, DriverLoadError) as error:
                self._journal.note(f"the warm guest is restored: {error.message}")
                self._drop()
        self.load(build)

    def take_crash(self, blamed: str) -> None:
        """Keeps the evidence of a crash that came while no scenario ran; `recover` restores the guest."""
        crash = self.debug.crash()
        if crash and self._session:
            self._captured(crash, blamed)

    def load(self, build: str) -> None:
        """Loads a driver build in place of what is loaded, which may be this one already.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError, ContractError: the driver is refused, or goes down in DriverEntry.
        """
        self.recover()
        self._refuse(self._load(build), LOADED)

    def unload(self) -> None:
        """Stops and removes the driver's service; nothing to do when no build is loaded.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError: the driver does not stop, or goes down in its unload routine.
        """
        if self._session is None or not self.loaded:
            return
        self.loaded = ""
        with self._journal.step(StepKind.DRIVER, "unload driver"):
            answer = self._change_package("") or self._session.unload(
                self._payload.service, Deadline.after(LOAD_DEADLINE_S)
            )
        if isinstance(answer, Crash):
            self._refuse(answer, UNLOADED)
        elif not answer.ok:
            raise DriverLoadError(
                f"The driver cannot be unloaded: {answer.message}.",
                remedy="Close every handle to its devices, and check its DriverUnload.",
            )

    def run(
        self, scenario: Scenario, parameters: Mapping[str, Parameter] | None = None, **replayed: Any
    ) -> ScenarioResult:
        """Runs one scenario to its end, whatever that is.

        Args:
            parameters: over those of the payload.
            replayed: `operations` and `linger_s`, see `AgentSession.run`: replayed in the scenario's place.

        Raises:
            InfrastructureError: the guest could not be restored for it.
        """
        started, clock = time.time(), time.monotonic()
        scenario_id, self._next_id = self._next_id, self._next_id + 1
        with self._journal.step(StepKind.SCENARIO, f"scenario {scenario.name}") as found:
            values = {**self._payload.parameters, **(parameters or {})}
            result = self._run(scenario, scenario_id, values, replayed)
            found["outcome"] = result.outcome
        bound(self.machine.channels)
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
            self.on_close()

    def _run(
        self,
        scenario: Scenario,
        scenario_id: int,
        parameters: Mapping[str, Parameter],
        replayed: Mapping[str, Any],
    ) -> ScenarioResult:
        failed = ScenarioResult(scenario.name, scenario.kind, Outcome.ERROR)
        self.recover()
        if self._ran_since != self.machine.generation:
            self._ran, self._ran_since = (), self.machine.generation
        self._ran = (*self._ran, (scenario, parameters))[-BEFORE_LIMIT:]
        try:
            crash = self._load(self._build(scenario))
            assert self._session
            answer = crash or self._session.run(
                scenario_id,
                scenario.name,
                Deadline.after(scenario.deadline_s),
                parameters,
                seed=self._payload.seed,
                **replayed,
            )
        except DriverLoadError as error:
            self.loaded = ""
            return dataclasses.replace(failed, message=str(error), detail=error.detail)
        except InfrastructureError as error:
            self._drop()
            return dataclasses.replace(
                failed,
                outcome=Outcome.LOST,
                message=self._explained(str(error)),
                detail=error.detail,
                dbgprint=self.debug.slice(scenario_id),
            )
        if isinstance(answer, Crash):
            return self._crashed(scenario, scenario_id, answer)
        return self._finished(scenario, scenario_id, answer)

    def _build(self, scenario: Scenario) -> str:
        return scenario.build or next(iter(self._payload.drivers))

    def _finished(self, scenario: Scenario, scenario_id: int, answer: Finished) -> ScenarioResult:
        outcome, message = Outcome(answer.outcome), answer.message
        records = self.debug.slice(scenario_id)
        if outcome is Outcome.PASSED and scenario.expect_crash:
            outcome, message = Outcome.FAILED, "The scenario ended, but it expected to take the guest down."
        if outcome is Outcome.PASSED:
            patterns = dict.fromkeys((*scenario.expect_dbgprint, *answer.expect_dbgprint))
            records, missing = self._printed(scenario_id, patterns)
            if missing:
                outcome, message = Outcome.FAILED, missing
        if outcome in (Outcome.FAILED, Outcome.ERROR):
            self.loaded = ""  # what a failed scenario left in the driver must not fail the next
        return ScenarioResult(
            scenario.name,
            scenario.kind,
            outcome,
            message,
            answer.detail,
            guest_seconds=answer.seconds,
            operations=answer.operations,
            dbgprint=records,
            notes=tuple(answer.notes),
        )

    def _printed(self, scenario_id: int, patterns: Iterable[str]) -> tuple[tuple[DebugRecord, ...], str]:
        """A scenario's debug output, and what of the expected it lacks even some time after the end."""
        records, deadline = self.debug.slice(scenario_id), Deadline.after(LATE_GRACE_S)
        for _ in deadline.tries(every=POLL_S):
            if not (missing := unmatched(patterns, records)):
                break
            records = self.debug.slice(scenario_id, late=True)
        return records, missing

    def _crashed(self, scenario: Scenario, scenario_id: int, crash: Crash) -> ScenarioResult:
        crash = self._captured(crash, scenario.name)
        records = self.debug.slice(scenario_id)
        if scenario.expect_crash and crash.scenario == scenario.name:
            message = mismatch(scenario.expect_crash, crash)
            outcome = Outcome.CRASHED if message else Outcome.PASSED
            if not message and (message := unmatched(scenario.expect_dbgprint, records)):
                outcome = Outcome.FAILED
        else:
            outcome = Outcome.HUNG if crash.kind in ("hang", "flood") else Outcome.CRASHED
            message = f"{describe(crash)}; last operation: {crash.last_operation or 'none journalled'}"
            if crash.scenario != scenario.name:
                message = f"Not run: {crash.scenario} took the driver down after its end. {message}"
        return ScenarioResult(
            scenario.name,
            scenario.kind,
            outcome,
            message,
            crash.text,
            dbgprint=records,
            crash=crash,
            notes=crash.notes if crash.kind == "hang" else (),
        )

    def _captured(self, crash: Crash, scenario: str) -> Crash:
        """Keeps the evidence of a crash and gives up the guest, which the next scenario restores."""
        crash = dataclasses.replace(crash, scenario=crash.scenario or scenario)
        with self._journal.step(
            StepKind.CRASH, "keep crash evidence", scenario=crash.scenario, crash=describe(crash)
        ):
            folder, fallen = self._artifacts.crash_folder(crash.scenario), crash
            if crash.kind == "hang":
                crash, fallen = self._hung(crash, folder)
            crash = capture(
                crash,
                folder,
                machine=self.machine,
                files=self.link.files,
                records=self.debug.tail(),
                dump=self.guest.dump(fallen, self.debug),
                symbols=next(iter(self._payload.drivers.values())).parent.parent,
                driver=f"{self._payload.service}.sys",
            )
        if self.bundles:
            with self._journal.step(StepKind.BUNDLE, "write crash bundle") as found:
                trigger = trigger_of(crash.scenario, self._ran, self._payload.seed)
                manifest, target = self.guest.image_manifest, self._artifacts.bundle_file(crash.signature)
                crash = bundled(
                    crash,
                    target,
                    trigger,
                    self._payload,
                    self.newest,
                    self._profile,
                    manifest,
                    self.environment,
                )
                found["bundle"] = crash.bundle
        self.last_crash = crash
        self._drop()
        return crash

    def _hung(self, crash: Crash, folder: Path) -> tuple[Crash, Crash]:
        """Tries what can be had of a hung guest; the hang with its notes, and what took it down at last."""
        with self._journal.step(StepKind.HANG, "look into the hang") as found:
            report = climb(crash, folder, machine=self.machine, debug=self.debug, limits=self._profile.hang)
            found["rungs"] = {rung.name: rung.gave for rung in report.rungs}
        crash = dataclasses.replace(crash, notes=(*crash.notes, *report.notes))
        return crash, report.bugcheck or crash

    def _explained(self, message: str) -> str:
        """An error's message, with what libvirt says when the machine is gone."""
        if self.machine.state() in (MachineState.RUNNING, MachineState.PAUSED):
            return message
        events = self.machine.events()
        reason = f" ({events[-1].reason})" if events else ""
        return f"The virtual machine ended by itself{reason}. {message}"

    def _refuse(self, crash: Crash | None, doing: str) -> None:
        if crash:
            crash = self._captured(crash, doing)
            raise DriverLoadError(
                f"The driver crashed while it was {doing}: {describe(crash)}.",
                remedy=f"Its evidence is in {crash.folder}.",
            )
