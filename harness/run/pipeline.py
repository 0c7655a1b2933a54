"""The whole flow, top to bottom: configuration -> driver -> image -> machine -> agent -> scenarios.

Only this module knows all stages; every stage is a step in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness.agent.handover import Handover
from harness.bundle.payload import Payload
from harness.deadline import Deadline
from harness.errors import (
    ConfigurationError,
    DeadlineError,
    DriverCrashError,
    InfrastructureError,
    MachineError,
    TransportError,
)
from harness.guests.flavour import Installed
from harness.guests.link import OpenLink
from harness.guests.registry import find_flavour, flavour_of, reopen, replayed_flavour
from harness.host.digest import file_sha256
from harness.host.locks import hold
from harness.images import base
from harness.journal import Journal, StepKind
from harness.machine import unattended
from harness.machine.accelerator import Accelerator, choose_accelerator
from harness.machine.leftovers import end_kept, remove_leftovers
from harness.machine.machine import LibvirtMachine
from harness.machine.protocol import Machine
from harness.machine.ready import launch
from harness.machine.remote.ssh import Target, runner
from harness.machine.runfolder import RunFolder
from harness.project import config as configuration
from harness.project import measured
from harness.project.measured import Measured
from harness.project.profile import Profile
from harness.results import DRIVER_CODE
from harness.run import live
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.guest_session import GuestSession
from harness.run.hold import Hold
from harness.run.live import LiveGuest
from harness.run.plan import Plan
from harness.run.prune import mark_used
from harness.toolchain.builds import build_companions, build_drivers
from harness.toolchain.deployed import deployed_files
from harness.toolchain.identity import code_digest
from harness.toolchain.inspect import require_frameworks
from harness.toolchain.instrument import instruments
from harness.toolchain.package import take_package

PROBE_DEADLINE_S = 30.0
ANSWER_DEADLINE_S = 30.0
"""For a guest that is up already; it may be busy with a user's program."""
END_DEADLINE_S = 60.0
UP_ANEW = "Run winvm down, then winvm up."

Measure = Callable[[Profile, Journal, Path], Measured | None]
"""Finds out what an image can show, unless that is known: profile, journal, the image's manifest."""


def open_bench(
    plan: Plan, artifacts: Artifacts, hold: Hold | None = None, measure: Measure | None = None
) -> Bench:
    """From a plan to a running guest with agent and driver; `Bench.close` ends all of it.

    Args:
        measure: see `prepare`.
        hold: what to do at an unexpected crash; the guest's kernel stays halted there.

    Raises:
        WinvmError: a stage fails; everything started before is ended.
    """
    resources = ExitStack()
    try:
        prepared = prepare(plan, artifacts.journal, measure=measure)
        runs = configuration.home() / "runs"
        folder = resources.enter_context(RunFolder.create(runs, plan.config.guest.uri))
        bench = start_guest(prepared, folder, artifacts, resources)
        if hold is not None:
            bench.hold(hold)
        with suppress(DriverCrashError):  # the first scenario's result tells it, and the run goes on
            bench.connect(plan.config.driver.builds[0])
    except BaseException:
        resources.close()
        raise
    return bench


def bring_up(plan: Plan, artifacts: Artifacts, build: str, waiting: Callable[[], None]) -> LiveGuest:
    """A guest with one driver build loaded, which outlives this process until its run folder is removed.

    If the project's guest is up already, that guest is returned. `waiting` is called if another process is
    starting it.

    Raises:
        ConfigurationError: the guest that is up has another driver or image.
        WinvmError: a stage fails; nothing new is left behind.
    """
    if Target.of(plan.config.guest.uri):
        raise ConfigurationError(
            f"A guest on {plan.config.guest.uri} cannot be left running: its ports end with this command.",
            remedy="Run winvm up on that host, or: winvm run",
        )
    home = configuration.home()
    project = live.project_key(plan.config.root, plan.profile.name)
    locks = home / "up"
    locks.mkdir(parents=True, exist_ok=True)
    with hold(locks / f"{project}.lock", waiting):
        prepared = prepare(plan, artifacts.journal)
        wanted = {"project": project, "build": build, "driver": file_sha256(prepared.payload.drivers[build])}
        if running := live.find_of(home, project):
            with artifacts.journal.step(StepKind.SETUP, "look at the guest that is up"):
                _require_same(running, prepared, wanted)
            return running
        return _leave_new(plan, prepared, artifacts, wanted)


def _require_same(running: LiveGuest, prepared: Prepared, wanted: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` for another driver or image, `MachineError` if the guest is silent."""
    differing = ""
    if (running.build, running.driver) != (wanted["build"], wanted["driver"]):
        differing = (
            f"with driver build {running.build} ({running.driver[:6]}) loaded; "
            f"the present {wanted['build']} is {wanted['driver'][:6]}"
        )
    elif running.image != (present := prepared.installed.image.folder):
        differing = f"from image {running.image.name}; the present one is {present.name}"
    if differing:
        raise ConfigurationError(f"A guest of this project is up already, {differing}.", remedy=UP_ANEW)
    transport = reach(running).transport
    try:
        transport.wait_ready(Deadline.after(ANSWER_DEADLINE_S))
    except (TransportError, DeadlineError) as error:
        raise MachineError(
            f"A guest of this project is up already, but does not answer: {error.message}", remedy=UP_ANEW
        ) from error
    finally:
        transport.close()


def _leave_new(plan: Plan, prepared: Prepared, artifacts: Artifacts, wanted: Mapping[str, str]) -> LiveGuest:
    made: Path | None = None
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(
                RunFolder.create(configuration.home() / "runs", plan.config.guest.uri)
            )
            made = folder.path
            bench = start_guest(prepared, folder, artifacts, stack)
            bench.connect(wanted["build"])
            machine = bench.guest.machine
            guest = LiveGuest(
                folder=folder.path,
                profile=plan.profile.name,
                root=plan.config.root,
                image=prepared.installed.image.folder,
                address=machine.address,
                ports=dict(machine.ports),
                machine=machine.folder,
                **wanted,
            )
            bench.guest.detach()
            guest.save()
            folder.keep()
            unattended.leave(machine.folder)
    except BaseException:
        if made:  # interrupted after the guest was recorded
            end_kept(made, Deadline.after(END_DEADLINE_S))
        raise
    return guest


def reach(guest: LiveGuest) -> OpenLink:
    """Connections to the guest that is up; none is opened yet.

    Raises:
        ImageError: its image is gone or damaged.
    """
    return reopen(guest.profile, guest.image, guest.root).link(guest)


@dataclass(frozen=True)
class Prepared:
    """Everything that is prepared before a guest runs."""

    profile: Profile
    installed: Installed
    payload: Payload
    environment: Mapping[str, str]

    def bench(
        self,
        machine: Machine,
        artifacts: Artifacts,
        standby: Mapping[str, str],
        resources: ExitStack,
        handover: Handover | None = None,
    ) -> Bench:
        """A bench in a running machine, not connected yet.

        Args:
            standby: how to reach the Python interpreter that waits in the guest.
            resources: ends the machine and everything under it.
            handover: from the process that suspended the guest.
        """
        environment = dict(self.environment)
        guest = GuestSession(
            self.installed.guest,
            machine,
            self.profile,
            self.payload,
            artifacts,
            standby,
            environment,
            handover,
        )
        return Bench(guest, artifacts, resources)


def prepare(
    plan: Plan,
    journal: Journal,
    builds: Iterable[str] | None = None,
    measure: Measure | None = None,
) -> Prepared:
    """Prepares accelerator, image and driver builds (all, or those in `builds`); removes leftovers.

    Args:
        measure: asked what the image can show, and not on a remote host; without it, what nobody tried on the
            image stays untried.
    """
    accelerator = _accelerator(plan, journal)
    home = configuration.home()
    installed = _whole(lambda: find_flavour(plan.profile, accelerator, home, journal, plan.verified), journal)
    drivers = build_drivers(plan.config, installed.exports, journal, builds)
    companions = build_companions(plan.config, installed.exports, journal, drivers)
    others = [path for companion in companions for path in companion.drivers.values()]
    require_frameworks([*drivers.values(), *others], installed.exports)
    driver = plan.config.driver
    packages = {build: take_package(inf) for build in drivers if (inf := plan.config.package(build))}
    payload = Payload(
        plan.agent,
        driver.name,
        drivers,
        driver.contract,
        plan.parameters,
        packages=packages,
        made=plan.config.service,
        files=deployed_files(plan.config.root, plan.config.deploy.files),
        companions=companions,
        instruments=tuple(sorted(instruments(plan.config))),
    )
    manifest = installed.image.manifest
    here = measure if measure and not plan.config.guest.uri else None
    found = here(plan.profile, journal, manifest) if here else measured.read(manifest)
    profile = measured.limited(plan.profile, found, plan.provided)
    return _prepared(profile, payload, installed, accelerator, journal)


def prepare_replay(
    plan: Plan, payload: Payload, digest: str, journal: Journal, *, any_image: bool = False
) -> Prepared:
    """As `prepare`, but for an existing payload, in the image that it ran in.

    Args:
        digest: digest of that image.
        any_image: use today's image if that one is unavailable.

    Raises:
        ConfigurationError: the image is not on this host, and this winvm builds a different one.
    """
    accelerator = _accelerator(plan, journal)
    home, profile = configuration.home(), plan.profile
    installed = _whole(
        lambda: replayed_flavour(
            profile, digest, accelerator, home, journal, plan.verified, any_image=any_image
        ),
        journal,
    )
    return _prepared(plan.profile, payload, installed, accelerator, journal)


def _accelerator(plan: Plan, journal: Journal) -> Accelerator:
    """Chooses the accelerator before any build: a host that cannot run a guest need not build one."""
    with journal.step(StepKind.SETUP, "choose accelerator") as found:
        home, deadline = configuration.home(), Deadline.after(PROBE_DEADLINE_S)
        if target := Target.of(plan.config.guest.uri):
            _require_reachable(plan)
            known = home / "hosts" / f"{target.host}.json"
            probe = choose_accelerator(known, deadline, run=runner(target), kvm=None)
        else:
            probe = choose_accelerator(home / "accelerator.json", deadline)
        found["accelerator"], found["reason"] = probe.accelerator, probe.reason
    return probe.accelerator


def _require_reachable(plan: Plan) -> None:
    """Refuses what no tunnel leads to on a remote host: a kernel debugger's port, the agent's serial port."""
    profile = plan.profile
    if profile.over_line:
        raise ConfigurationError(
            f"Guest {profile.name} is reached over a serial port, which works on this host only.",
            remedy="Run it without --uri, or with a profile that leaves transport out.",
        )
    if flavour_of(profile).debugged_here(profile):
        raise ConfigurationError(
            f"Guest {profile.name} has a kernel debugger, which works on this host only.",
            remedy='Run it without a libvirt URI, or with a profile whose hardware.kd is "none".',
        )


def _whole(find: Callable[[], Installed], journal: Journal) -> Installed:
    with journal.step(StepKind.IMAGE, "guest image"):
        installed = find()
        base.verify_if_touched(installed.image)
        mark_used(installed.image.folder)
    return installed


def _prepared(
    profile: Profile, payload: Payload, installed: Installed, accelerator: Accelerator, journal: Journal
) -> Prepared:
    image = installed.image
    with journal.step(StepKind.SETUP, "remove leftovers") as found:
        leftovers = remove_leftovers(configuration.home() / "runs")
        found["removed"] = [str(leftover.path) for leftover in leftovers if not leftover.trouble]
        for leftover in leftovers:
            if leftover.trouble:
                journal.warn(leftover.trouble)
    environment = {
        "winvm": version("winvm"),
        "image": image.digest,
        **{f"image {name}": value for name, value in image.versions.items()},
        "accelerator": accelerator,
        **{f"driver {build}": file_sha256(path) for build, path in payload.drivers.items()},
        **{f"{DRIVER_CODE} {build}": code_digest(path) for build, path in payload.drivers.items()},
        **{f"parameter {name}": str(value) for name, value in payload.parameters.items()},
    }
    return Prepared(profile, installed, payload, environment)


def start_guest(prepared: Prepared, folder: RunFolder, artifacts: Artifacts, resources: ExitStack) -> Bench:
    """Starts a machine in `folder` from the ready state; `resources` gets what must be ended later."""
    timeouts, installed = prepared.profile.timeouts, prepared.installed
    with artifacts.journal.step(StepKind.BOOT, "start guest"):
        boot = Deadline.after(timeouts.boot)
        restore = Deadline.after(timeouts.boot + timeouts.restore)
        try:
            machine, ready = launch(installed.spec, folder, installed.guest.wait_ready, boot, restore)
        except InfrastructureError:
            # A damaged disk is the better explanation for a guest that does not boot.
            base.verify(installed.image)
            raise
        resources.callback(_end, machine, folder)
    return prepared.bench(machine, artifacts, ready.facts, resources)


def _end(machine: LibvirtMachine, folder: RunFolder) -> None:
    if not folder.kept:
        machine.destroy()
