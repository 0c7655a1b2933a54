"""A running guest with agent and drivers: deploys, connects, restores, suspends it for another process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

from harness.agent.conversation import CRASH_GRACE_S
from harness.agent.handover import Handover
from harness.agent.protocol import Unloaded
from harness.agent.session import AgentSession
from harness.bundle.payload import Payload
from harness.crash.dump_source import DumpSource
from harness.deadline import Deadline
from harness.errors import AgentError, DriverLoadError, InfrastructureError
from harness.guests.protocol import Guest, InstallsPackages, Link
from harness.host.digest import file_sha256
from harness.interfaces import HoldsKernel, WatchesDriver
from harness.journal import StepKind
from harness.machine.protocol import Machine
from harness.outcome import KernelCrash
from harness.project.profile import Profile
from harness.run.artifacts import Artifacts
from harness.run.counting import Counting
from harness.run.interpreter import started
from harness.run.loading import LOAD_DEADLINE_S, Loading

CONNECT_DEADLINE_S = 120.0
INSTALL_DEADLINE_S = 180.0
"""For installing an INF package: Windows verifies its catalogue and looks at every device."""
QUIT_DEADLINE_S = 20.0
SETTLE_S = 0.1
"""Guest time between its last connection and a suspension. QEMU's user network polls every 2 ms (1.2% of a
core) while an acknowledgement is delayed, and never stops polling once the guest's clock stands still."""
WAKE_DEADLINE_S = 15.0
"""From resuming a suspended guest to the agent's answer; it usually takes a second or two."""
SESSION_LIFETIME_S = 7 * 86400.0


class GuestSession:
    """One running guest: from its restore to an agent that answers, with a driver build loaded or not.

    Args:
        machine: started already.
        standby: how to reach the Python interpreter that waits in the restored guest.
        environment: what is known of the run; the guest's own facts are added to it.
        handover: from the process that suspended this guest; its agent still runs.

    Attributes:
        link: the connections to the guest; each restore makes new ones.
        debug: the guest's live debug output.
        loaded: the driver build that is loaded; empty when none is.
        newest: the driver build that was loaded last, or failed to load.
        counting: keeps what the driver counted.
        occupied: whether a driver may be loaded still, by whatever name.
        handed_over: whether another process suspended the guest; else its machine has just started.
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
        self.machine = machine
        self.profile = profile
        self.payload = payload
        self.environment = environment
        self._guest = guest
        self._standby = standby
        self._journal = artifacts.journal
        self.handed_over = handover is not None
        self._nonce = handover.nonce if handover else secrets.token_hex(8)
        self.link: Link = guest.link(machine)
        skip = handover.debug_read if handover else 0
        self.debug = guest.debug_stream(machine, artifacts.dbgprint_log, self._nonce, skip)
        self._agent: AgentSession | None = None
        self._drivers = Loading(payload, guest.run_folder)
        if isinstance(self.debug, WatchesDriver):
            names = {driver.name for driver in payload.drivers.values()}
            self.debug.watch(names | {f"{name}.sys" for name in self._drivers.services})
        self._installed = ""  # the driver store's name of the INF package
        self.loaded = self.newest = ""
        self.counting = Counting(payload, lambda: self.newest)
        self.occupied = False
        environment["seed"] = str(payload.seed)
        self._next_id = handover.next_id if handover else 1
        self._deployed = dict(handover.deployed) if handover else {}
        self._checkpoint_holds = handover.checkpoint if handover else None

    def hold_crashes(self) -> None:
        """From now on a crash leaves the guest's kernel halted, where it has a debugger."""
        if isinstance(self.debug, HoldsKernel):
            self.debug.hold_crashes()

    @property
    def kernel_held(self) -> bool:
        """Whether its kernel stands halted for a person."""
        return isinstance(self.debug, HoldsKernel) and self.debug.held

    def release_kernel(self) -> None:
        """Lets a halted kernel go on."""
        if isinstance(self.debug, HoldsKernel):
            self.debug.release()

    def lend_kernel(self) -> bool:
        """Leaves a halted kernel to another debugger; returns whether it is halted."""
        if not isinstance(self.debug, HoldsKernel) or not self.debug.held:
            return False
        self.debug.lend()
        return True

    @property
    def answers(self) -> bool:
        """Whether the agent has connected and has not been lost since."""
        return self._agent is not None

    @property
    def agent(self) -> AgentSession:
        """The connected agent.

        Raises:
            AgentError: a crash or a lost connection ended it, or it never connected.
        """
        if self._agent is None:
            raise AgentError("No agent answers in the guest.", remedy="Restore the guest first.")
        return self._agent

    @property
    def image_manifest(self) -> Path:
        """manifest.json of the guest's image."""
        return self._guest.image_manifest

    @property
    def builds(self) -> tuple[str, ...]:
        """The driver builds that were deployed."""
        return tuple(self.payload.drivers)

    def deploy(self) -> None:
        """Starts the agent in a machine that has just started; the agent then waits for `meet`.

        Raises:
            InfrastructureError: the guest does not answer.
        """
        deadline = Deadline.after(CONNECT_DEADLINE_S)
        self._deployed = {}
        self._push(deadline)
        with self._journal.step(StepKind.DEPLOY, "start agent"):
            self._standby = started(self.link, self._standby, self._agent_path, deadline)

    def meet(self) -> None:
        """Connects to the agent that waits; no driver is loaded afterwards.

        Raises:
            InfrastructureError: the agent does not answer.
        """
        deadline = Deadline.after(CONNECT_DEADLINE_S)
        with self._journal.step(StepKind.DEPLOY, "meet agent"), ThreadPoolExecutor(1) as beside:
            clock = beside.submit(self.link.set_clock, deadline)
            self._agent = self._session()
            ready = self._agent.hello(
                deadline,
                capabilities=sorted(self.profile.capabilities),
                journal=self._guest.journal_port,
            )
            clock.result()
        self.environment.setdefault("guest python", ready.python)
        self.loaded, self.occupied = "", False

    def take_over(self) -> None:
        """Resumes the suspended guest that was handed over, and connects to its agent.

        Raises:
            InfrastructureError: the agent does not answer.
        """
        deadline = Deadline.after(WAKE_DEADLINE_S)
        with self._journal.step(StepKind.RESTORE, "resume guest"):
            self.machine.resume(deadline)
        with self._journal.step(StepKind.DEPLOY, "meet agent"), ThreadPoolExecutor(2) as beside:
            clock = beside.submit(self.link.set_clock, deadline)
            pushed = beside.submit(self._push, deadline)  # no driver is loaded: no file is in use
            self._agent = self._session()
            answer = self._agent.unload(self.payload.service, deadline)
            clock.result()
            pushed.result()
        if isinstance(answer, KernelCrash):
            raise AgentError(f"The agent in the suspended guest is gone: {answer.text}")

    def load(self, build: str) -> KernelCrash | None:
        """Loads a driver build in place of what is loaded, which may be this one already.

        Returns:
            The crash in its DriverEntry; None if the driver was loaded.

        Raises:
            InfrastructureError: the guest does not answer.
            DriverLoadError, ContractError: the driver is refused.
        """
        if self.loaded == build:
            return None
        if build not in self.payload.drivers:
            raise DriverLoadError(
                f"There is no driver build {build!r}.",
                remedy=f"Choose one of the builds in winvm.toml: {', '.join(self.payload.drivers)}.",
            )
        self.loaded, self.newest, self.occupied = "", build, True
        with self._journal.step(StepKind.DRIVER, f"load driver ({build})"):
            crash = self._change_package(build) or self._drivers.load(self.agent, build)
        if crash is None:
            self.loaded = build
        return crash

    def unload(self) -> Unloaded | KernelCrash:
        """Stops and removes the driver's service and its package; the result says whether that worked.

        Raises:
            InfrastructureError: the guest does not answer.
        """
        self.loaded = ""
        with self._journal.step(StepKind.DRIVER, "unload driver"):
            answer = self._change_package("") or self._drivers.unload(self.agent)
        self.occupied = isinstance(answer, KernelCrash) or not answer.ok
        return answer

    def new_link(self) -> Link:
        """Separate connections to the guest, none of them open yet; the caller closes them."""
        return self._guest.link(self.machine)

    def next_id(self) -> int:
        """The id of a scenario's next run; none is used twice in a guest."""
        number, self._next_id = self._next_id, self._next_id + 1
        return number

    def dump(self, crash: KernelCrash) -> DumpSource:
        """How the host gets the dump of a crash."""
        return self._guest.dump(crash, self.debug)

    @property
    def flavour(self) -> Guest:
        """What differs between this guest and those of other flavours."""
        return self._guest

    @property
    def driver_file(self) -> Path | None:
        """The `.sys` on the host that was loaded last, or failed to load."""
        return self.payload.drivers.get(self.newest)

    def recover(self) -> bool:
        """Restores a guest lost to a crash or a broken connection, without a driver; returns whether it did.

        A failed restore is tried once more: its cause may be temporary, and the run should go on.

        Raises:
            InfrastructureError: both restores failed.
        """
        lost = not self.answers
        if lost:
            try:
                self.restore()
            except InfrastructureError as error:
                self._journal.note(f"the guest is restored once more: {error.message}")
                self.give_up()
                self.restore()
        return lost

    def restore(self) -> None:
        """Discards the guest's state, restores it and connects to its agent; no driver is loaded afterwards.

        Raises:
            InfrastructureError: the guest could not be restored.
        """
        self.give_up()
        with self._journal.step(StepKind.RESTORE, "restore guest"):
            self.machine.revert(Deadline.after(self.profile.timeouts.restore))
            self.link = self.new_link()
            if self._checkpoint_holds is None:
                self.deploy()
                self._checkpoint()
            else:
                self._deployed = dict(self._checkpoint_holds)
                self._push(Deadline.after(CONNECT_DEADLINE_S))
            self.debug.rearm()
            self.meet()

    def hand_over(self) -> Handover:
        """Leaves the guest suspended for another process: driver unloaded, agent waiting.

        A crashed guest is restored first.

        Raises:
            InfrastructureError: the guest does not answer, or could not be restored.
            DriverLoadError: the driver does not unload.
        """
        self.recover()
        with self._journal.step(StepKind.RESTORE, "suspend guest"):
            self._change_package("")
            if self.payload.companions:
                self._drivers.unload(self.agent)
            answer = self.agent.release(self.payload.service, Deadline.after(LOAD_DEADLINE_S))
            self.link.close()
            time.sleep(SETTLE_S)
            self.machine.suspend(Deadline.after(WAKE_DEADLINE_S))
        self.disconnect()
        if isinstance(answer, KernelCrash) or not answer.ok or self.debug.crash():
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
        self.agent.quit(Deadline.after(QUIT_DEADLINE_S))
        self.disconnect()

    def give_up(self) -> None:
        """Marks the guest as lost, as after a crash or a lost connection; `recover` restores it."""
        if self._agent:
            self._agent.abandon()
        self._agent, self._installed = None, ""
        self.link.close()

    def disconnect(self) -> None:
        """Drops every connection to the guest; safe to repeat, never raises."""
        self.give_up()
        self.debug.close()

    def _session(self) -> AgentSession:
        process, lifetime = self.link.agent(self._standby), Deadline.after(SESSION_LIFETIME_S)
        session = AgentSession(process, self.debug, self._nonce, lifetime, self.machine.trouble)
        session.counted = self.counting.take
        return session

    def _checkpoint(self) -> None:
        """Saves the guest with the agent imported; later restores begin there."""
        with self._journal.step(StepKind.RESTORE, "save guest with agent"):
            self.link.close()
            self.machine.checkpoint(Deadline.after(self.profile.timeouts.restore))
            self._checkpoint_holds = dict(self._deployed)
            self.link = self.new_link()

    def _change_package(self, build: str) -> KernelCrash | None:
        """Installs a build's INF package in place of the installed one; an empty name installs none.

        The driver's own routines run meanwhile, so the driver may crash here.
        """
        deadline, package = Deadline.after(INSTALL_DEADLINE_S), self.payload.packages.get(build)
        if not self._installed and not package:
            return None
        link = self.link
        if not isinstance(link, InstallsPackages):
            raise DriverLoadError(
                f"{self.payload.service} comes as an INF package, and this guest installs none.",
                remedy="Use a guest with the capability inf-package, or name the .sys file under [driver].",
            )
        try:
            if self._installed:
                link.uninstall_package(self._installed, deadline)
                self._installed = ""
            if package:
                folder = self._package_folder(build)
                certificates = package.certificates(folder)
                inf = folder / package.inf.name
                self._installed = link.install_package(inf, certificates, deadline)
        except InfrastructureError:
            if crash := self.agent.late_crash(Deadline.after(CRASH_GRACE_S)):
                return crash
            raise
        return None

    def _push(self, deadline: Deadline) -> None:
        """Copies the files that the guest does not have."""
        wanted = {self._agent_path: self.payload.agent, **self._drivers.files()}
        for build, package in self.payload.packages.items():
            wanted |= package.placed(self._package_folder(build))
        hashes = {path: file_sha256(file) for path, file in wanted.items()}
        changed = [path for path in wanted if self._deployed.get(path) != hashes[path]]
        with self._journal.step(StepKind.DEPLOY, "deploy", files=changed):
            for path in changed:
                self.link.files.push(wanted[path], path, deadline)
                self._deployed[path] = hashes[path]

    @property
    def _agent_path(self) -> str:
        return rf"{self._guest.run_folder}\agent.pyz"

    def _package_folder(self, build: str) -> PureWindowsPath:
        return PureWindowsPath(self._guest.run_folder, build, "package")
