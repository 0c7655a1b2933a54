"""A guest with an agent in it: runs scenarios in turn, keeps what a crash leaves, restores the guest."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from harness.agent_protocol import Finished
from harness.artifacts import Artifacts
from harness.config import Parameter
from harness.crash.capture import capture
from harness.crash.expectation import describe, mismatch
from harness.deadline import Deadline
from harness.errors import AgentError, DriverLoadError, InfrastructureError
from harness.guests.protocol import Guest
from harness.handover import Handover, content_hash
from harness.machine.channels import bound
from harness.machine.profile import Profile
from harness.machine.protocol import Machine, MachineState
from harness.outcome import Crash, Outcome, Scenario, ScenarioResult
from harness.patterns import unmatched
from harness.session import AgentSession, start_agent

CONNECT_DEADLINE_S = 120.0
LOAD_DEADLINE_S = 60.0
QUIT_DEADLINE_S = 20.0
SETTLE_S = 0.1
"""Guest time between its last connection and a suspension. QEMU's user network polls every 2 ms (1.2% of a
core) as long as an acknowledgement is delayed, and does so for ever once the guest's clock stands still."""
WAKE_DEADLINE_S = 15.0
"""From a suspended guest to an agent that answers; a second or two."""
DUMP_DEADLINE_S = 60.0
SESSION_LIFETIME_S = 7 * 86400.0


@dataclass(frozen=True)
class Payload:
    """What is deployed into the guest.

    Attributes:
        agent: the zipapp.
        service: name of the driver's service.
        drivers: build name -> signed `.sys`.
        contract: generated module that declares HELLO; empty if the driver has none.
        parameters: what scenarios find in `t.params`.
    """

    agent: Path
    service: str
    drivers: Mapping[str, Path]
    contract: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


class Bench:
    """One running guest.

    A scenario's failure and a crash are results. Infrastructure that fails during a scenario makes that
    scenario `LOST`, and the guest is restored before the next; if it cannot be restored, `run` raises.

    Args:
        machine: started already.
        standby: where the restored guest's waiting interpreter is found.
        handover: of the process that suspended this guest; `connect` goes on with the agent in it.

    Attributes:
        on_close: ends the machine and what lies under it; set by whoever made them.
        loaded: the driver build that is loaded; empty when none is.
        last_crash: the newest crash of the run, evidence kept.
    """

    def __init__(
        self,
        guest: Guest,
        machine: Machine,
        profile: Profile,
        payload: Payload,
        artifacts: Artifacts,
        standby: Mapping[str, str],
        environment: dict[str, str],
        handover: Handover | None = None,
    ) -> None:
        self.guest = guest
        self.machine = machine
        self.environment = environment
        self._profile = profile
        self._payload = payload
        self._artifacts = artifacts
        self._standby = standby
        self._journal = artifacts.journal
        self.on_close: Callable[[], None] = self.disconnect
        self._handover = handover
        self._nonce = handover.nonce if handover else secrets.token_hex(8)
        self.link = guest.link(machine)
        skip = handover.debug_read if handover else 0
        self.debug = guest.debug_stream(machine, artifacts.dbgprint_log, self._nonce, skip)
        self._session: AgentSession | None = None
        self.loaded = ""
        self.last_crash: Crash | None = None
        self._next_id = handover.next_id if handover else 1
        self._deployed = dict(handover.deployed) if handover else {}
        self._checkpoint_holds = handover.checkpoint if handover else None

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

    @property
    def builds(self) -> tuple[str, ...]:
        """The driver builds that were deployed."""
        return tuple(self._payload.drivers)

    def recover(self) -> bool:
        """Restores the guest if a crash or a lost connection took it, and says so; no driver is loaded then.

        What broke a restore may be over at the next try, and a run need not end with it.

        Raises:
            InfrastructureError: it could not be restored, twice.
        """
        lost = self._session is None
        if lost:
            try:
                self.restore()
            except InfrastructureError as error:
                self._journal.note(f"the guest is restored once more: {error.message}")
                self._drop()
                self.restore()
        return lost

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
        self._refuse(self._load(build), "loaded")

    def unload(self) -> None:
        """Stops and removes the driver's service; nothing to do when no build is loaded.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError: the driver does not stop, or goes down in its unload routine.
        """
        if self._session is None or not self.loaded:
            return
        self.loaded = ""
        with self._journal.step("unload driver"):
            answer = self._session.unload(self._payload.service, Deadline.after(LOAD_DEADLINE_S))
        if isinstance(answer, Crash):
            self._refuse(answer, "unloaded")
        elif not answer.ok:
            raise DriverLoadError(
                f"The driver cannot be unloaded: {answer.message}.",
                remedy="Close every handle to its devices, and check its DriverUnload.",
            )

    def run(self, scenario: Scenario, parameters: Mapping[str, Parameter] | None = None) -> ScenarioResult:
        """Runs one scenario to its end, whatever that is.

        Args:
            parameters: over those of the payload.

        Raises:
            InfrastructureError: the guest could not be restored for it.
        """
        started, clock = time.time(), time.monotonic()
        scenario_id, self._next_id = self._next_id, self._next_id + 1
        with self._journal.step(f"scenario {scenario.name}") as found:
            result = self._run(scenario, scenario_id, {**self._payload.parameters, **(parameters or {})})
            found["outcome"] = result.outcome
        bound(self.machine.channels)
        return dataclasses.replace(result, started=started, seconds=round(time.monotonic() - clock, 3))

    def hand_over(self) -> Handover:
        """Leaves the guest suspended for another process: driver unloaded, agent waiting.

        A guest that a crash took is restored first.

        Raises:
            InfrastructureError: the guest does not answer, or could not be restored.
            DriverLoadError: the driver does not unload.
        """
        self.recover()
        assert self._session
        with self._journal.step("suspend guest"):
            answer = self._session.release(self._payload.service, Deadline.after(LOAD_DEADLINE_S))
            self.link.close()
            time.sleep(SETTLE_S)
            self.machine.suspend(Deadline.after(WAKE_DEADLINE_S))
        self.disconnect()
        if isinstance(answer, Crash) or not answer.ok or self.debug.crash():
            raise DriverLoadError("The driver does not unload.", remedy="Check its DriverUnload.")
        return Handover(
            standby=self._standby,
            nonce=self._nonce,
            debug_read=self.machine.channels.dbgprint.stat().st_size,
            next_id=self._next_id,
            deployed=self._deployed,
            checkpoint=self._checkpoint_holds,
        )

    def detach(self) -> None:
        """Ends the agent but leaves the driver loaded and the machine running."""
        assert self._session
        self._session.quit(Deadline.after(QUIT_DEADLINE_S))
        self.disconnect()

    def disconnect(self) -> None:
        """Drops every connection to the guest; safe to repeat, never raises."""
        self._drop()
        self.debug.close()

    def close(self) -> None:
        """Ends agent, machine and everything under it; safe to repeat."""
        with self._journal.step("end guest"):
            self.on_close()

    def _run(
        self, scenario: Scenario, scenario_id: int, parameters: Mapping[str, Parameter]
    ) -> ScenarioResult:
        failed = ScenarioResult(scenario.name, scenario.kind, Outcome.ERROR)
        self.recover()
        try:
            crash = self._load(scenario.build or next(iter(self._payload.drivers)))
            assert self._session
            answer = crash or self._session.run(
                scenario_id, scenario.name, Deadline.after(scenario.deadline_s), parameters
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

    def _finished(self, scenario: Scenario, scenario_id: int, answer: Finished) -> ScenarioResult:
        outcome, message = Outcome(answer.outcome), answer.message
        records = self.debug.slice(scenario_id)
        if outcome is Outcome.PASSED and scenario.expect_crash:
            outcome, message = Outcome.FAILED, "The scenario ended, but it expected to take the guest down."
        patterns = (*scenario.expect_dbgprint, *answer.expect_dbgprint)
        if outcome is Outcome.PASSED and (missing := unmatched(patterns, records)):
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
            scenario.name, scenario.kind, outcome, message, crash.text, dbgprint=records, crash=crash
        )

    def _captured(self, crash: Crash, scenario: str) -> Crash:
        """Keeps the evidence of a crash and gives up the guest, which the next scenario restores."""
        crash = dataclasses.replace(crash, scenario=crash.scenario or scenario)
        with self._journal.step("keep crash evidence", scenario=crash.scenario, crash=describe(crash)):
            crash = capture(
                crash,
                self._artifacts.crash_folder(crash.scenario),
                machine=self.machine,
                files=self.link.files,
                records=self.debug.tail(),
                dump=self.guest.dump(crash),
                deadline=Deadline.after(DUMP_DEADLINE_S),
            )
        self.last_crash = crash
        self._drop()
        return crash

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

    def _load(self, build: str) -> Crash | None:
        if self.loaded == build:
            return None
        if build not in self._payload.drivers:
            raise DriverLoadError(
                f"There is no driver build {build!r}.",
                remedy=f"winvm.toml builds {', '.join(self._payload.drivers)}.",
            )
        assert self._session
        self.loaded = ""
        with self._journal.step(f"load driver ({build})"):
            answer = self._session.load(
                self._payload.service,
                self._driver_path(build),
                self._payload.contract or None,
                Deadline.after(LOAD_DEADLINE_S),
            )
        if isinstance(answer, Crash):
            return answer
        self.loaded = build
        return None

    def restore(self) -> None:
        """Throws the guest away and goes back to an agent that answers; no driver is loaded then.

        Raises:
            InfrastructureError: it could not be restored.
        """
        self._drop()
        with self._journal.step("restore guest"):
            self.machine.revert(Deadline.after(self._profile.timeouts.restore))
            self.link = self.guest.link(self.machine)
            if self._checkpoint_holds is None:
                self._deploy()
                self._checkpoint()
            else:
                self._deployed = dict(self._checkpoint_holds)
                self._push(Deadline.after(CONNECT_DEADLINE_S))
            self.debug.rearm()
            self._meet_agent()

    def _checkpoint(self) -> None:
        """Saves the guest with the agent imported; later restores begin there."""
        with self._journal.step("save guest with agent"):
            self.link.close()
            self.machine.checkpoint(Deadline.after(self._profile.timeouts.restore))
            self._checkpoint_holds = dict(self._deployed)
            self.link = self.guest.link(self.machine)

    def _deploy(self) -> None:
        """From a machine that has just started to an agent that waits for hello."""
        deadline = Deadline.after(CONNECT_DEADLINE_S)
        self._deployed = {}
        self._push(deadline)
        with self._journal.step("start agent"):
            start_agent(self.link.agent(self._standby), self._agent_path, deadline)

    def _meet_agent(self) -> None:
        """From an agent that waits for hello to one that answers."""
        deadline = Deadline.after(CONNECT_DEADLINE_S)
        with self._journal.step("meet agent"), ThreadPoolExecutor(1) as beside:
            clock = beside.submit(self.link.set_clock, deadline)
            process = self.link.agent(self._standby)
            self._session = AgentSession(process, self.debug, self._nonce, Deadline.after(SESSION_LIFETIME_S))
            ready = self._session.hello(
                deadline,
                capabilities=sorted(self._profile.capabilities),
                journal=self.guest.journal_port,
                set_clock=False,
            )
            clock.result()
        self.environment.setdefault("guest python", ready.python)
        self.loaded = ""

    def _take_over(self) -> None:
        """From a suspended guest to its agent, which answers."""
        deadline = Deadline.after(WAKE_DEADLINE_S)
        with self._journal.step("resume guest"):
            self.machine.resume(deadline)
        self._push(deadline)
        with self._journal.step("meet agent"):
            self.link.set_clock(deadline)
            process = self.link.agent(self._standby)
            self._session = AgentSession(process, self.debug, self._nonce, Deadline.after(SESSION_LIFETIME_S))
            answer = self._session.unload(self._payload.service, deadline)
        if isinstance(answer, Crash):
            raise AgentError(f"The agent in the suspended guest is gone: {answer.text}")

    def _push(self, deadline: Deadline) -> None:
        """Copies in what the guest does not have."""
        wanted = {self._agent_path: self._payload.agent}
        wanted |= {self._driver_path(build): driver for build, driver in self._payload.drivers.items()}
        hashes = {path: content_hash(file) for path, file in wanted.items()}
        changed = [path for path in wanted if self._deployed.get(path) != hashes[path]]
        with self._journal.step("deploy", files=changed):
            for path in changed:
                self.link.files.push(wanted[path], path, deadline)
                self._deployed[path] = hashes[path]

    def _drop(self) -> None:
        if self._session:
            self._session.close()
        self._session = None
        self.link.close()

    @property
    def _agent_path(self) -> str:
        return rf"{self.guest.run_folder}\agent.pyz"

    def _driver_path(self, build: str) -> str:
        return rf"{self.guest.run_folder}\{build}\{self._payload.service}.sys"
