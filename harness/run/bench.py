"""Runs scenarios in a guest, one after another, and turns what happens into results, crashes included."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from harness.agent.conversation import Stuck
from harness.agent.protocol import Finished
from harness.agent.session import Debugging, ScenarioCrash
from harness.bundle.write import LOADED, UNLOADED
from harness.deadline import Deadline
from harness.errors import DriverCrashError, DriverLoadError, InfrastructureError
from harness.host.interrupts import deferred
from harness.journal import StepKind
from harness.machine.channels import bound
from harness.outcome import (
    CrashRecord,
    KernelCrash,
    Outcome,
    Scenario,
    ScenarioResult,
)
from harness.project.config import Parameter
from harness.run.artifacts import Artifacts
from harness.run.blame import blamed
from harness.run.crashes import CrashKeeper
from harness.run.differences import applied
from harness.run.guest_limits import unload_limit
from harness.run.guest_session import GuestSession
from harness.run.lifecycle import driver_result, went_down
from harness.run.lost import explained, keep_lost
from harness.run.scenario_result import NOT_SHOWN, crashed, finished
from harness.run.silence import judged, overdue


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
            replayed: `operations` and `linger_s`, or `fuzz`, of `AgentSession.run`, in the scenario's place.

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
        done = dataclasses.replace(
            result,
            started=started,
            seconds=round(time.monotonic() - clock, 3),
            build=self._build(scenario),
            file=scenario.file,
            line=scenario.line,
        )
        return applied(self.guest.profile.differs, done)

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
            return self._without_driver(scenario, self._build(scenario))
        self.guest.recover()
        self.crashes.runs(scenario, parameters)
        try:
            answer = self._answer(scenario, scenario_id, parameters, replayed)
        except DriverCrashError:
            return self._without_driver(scenario, self._build(scenario))
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
            came = blamed(answer, scenario, self._before, self.guest.machine.channels.journal)
            return crashed(self.guest, self.crashes, scenario, scenario_id, came)
        if isinstance(answer, Stuck):
            self.guest.give_up()
            return dataclasses.replace(
                failed,
                message=overdue(answer, scenario.name, scenario.deadline_s),
                detail=answer.stack,
                dbgprint=self.guest.debug.slice(scenario_id),
            )
        result = finished(self.guest, scenario, scenario_id, answer)
        if result.outcome in (Outcome.FAILED, Outcome.ERROR):
            self.guest.loaded = ""  # driver state left by a failed scenario must not fail the next one
        return result

    def _answer(
        self,
        scenario: Scenario,
        scenario_id: int,
        parameters: Mapping[str, Parameter],
        replayed: Mapping[str, Any],
    ) -> Finished | ScenarioCrash | Stuck:
        self._load(self._build(scenario))
        if scenario.case:
            replayed = {"case": json.loads(scenario.case), **replayed}
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
            self.unloads.append(driver_result(crash, UNLOADED, self.guest.newest))
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

    def _without_driver(self, scenario: Scenario, build: str) -> ScenarioResult:
        """The result of a scenario whose build crashes in DriverEntry, which is tried once in a run."""
        if crash := self._crashed_builds[build]:
            self._crashed_builds[build] = None
            return driver_result(crash, LOADED, build, scenario)
        message = f"Not run: build {build} crashed in its DriverEntry earlier in this run."
        return ScenarioResult(scenario.name, scenario.kind, Outcome.ERROR, message)

    def _build(self, scenario: Scenario) -> str:
        return scenario.build or self.guest.builds[0]

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
