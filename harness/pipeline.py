"""The whole flow, top to bottom: configuration -> driver -> image -> machine -> agent -> scenarios.

Only this module knows all stages; every stage is a step in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version

from harness import config as configuration
from harness.artifacts import Artifacts
from harness.bench import Bench
from harness.build.builds import build_drivers
from harness.deadline import Deadline
from harness.deployed import Payload
from harness.errors import InfrastructureError
from harness.guests.wine import WineGuest, WineLink
from harness.handover import content_hash
from harness.images import base, wine
from harness.images.base import BaseImage
from harness.journal import Journal
from harness.live import LiveGuest
from harness.machine.accelerator import choose_accelerator
from harness.machine.domain import MachineSpec
from harness.machine.leftovers import remove_leftovers
from harness.machine.machine import LibvirtMachine
from harness.machine.ready import launch
from harness.machine.runfolder import RunFolder
from harness.plan import Plan
from harness.root import require_root

PROBE_DEADLINE_S = 30.0


def open_bench(plan: Plan, artifacts: Artifacts) -> Bench:
    """From a plan to a running guest with agent and driver; `Bench.close` ends all of it.

    Raises:
        WinvmError: a stage fails; everything started by then is ended.
    """
    with ExitStack() as stack:
        bench, *_ = _assemble(plan, artifacts, stack)
        bench.connect(plan.config.driver.builds[0])
        bench.on_close = stack.pop_all().close
    return bench


def bring_up(plan: Plan, artifacts: Artifacts, build: str) -> LiveGuest:
    """A guest with one driver build loaded, which outlives this process until its run folder is removed.

    Raises:
        WinvmError: a stage fails; nothing is left then.
    """
    with ExitStack() as stack:
        bench, folder, image = _assemble(plan, artifacts, stack)
        bench.connect(build)
        machine = bench.machine
        live = LiveGuest(
            folder=folder.path,
            profile=plan.profile.name,
            image=image.folder,
            address=machine.address,
            ports=dict(machine.ports),
            machine=machine.folder,
        )
        bench.detach()
        live.save()
        folder.keep()
    return live


def reach(live: LiveGuest) -> WineLink:
    """Connections to the guest that is up; nothing is opened yet.

    Raises:
        ImageError: its image is gone or damaged.
    """
    return WineGuest(base.load(live.image)).link(live)


@dataclass(frozen=True)
class Prepared:
    """Everything there is before a guest runs."""

    image: BaseImage
    spec: MachineSpec
    payload: Payload
    environment: dict[str, str]


def prepare(plan: Plan, journal: Journal, builds: Iterable[str] | None = None) -> Prepared:
    """Accelerator, image and driver builds, all of winvm.toml's or those named; leftovers are removed."""
    if not plan.config.guest.uri:
        require_root("Running a guest without a libvirt daemon")
    home = configuration.home()
    # First: a host that cannot run a guest need not build one.
    with journal.step("choose accelerator") as found:
        probe = choose_accelerator(home / "accelerator.json", Deadline.after(PROBE_DEADLINE_S))
        found["accelerator"], found["reason"] = probe.accelerator, probe.reason
    with journal.step("guest image"):
        image = wine.ensure(home, journal)
        base.verify_if_touched(image)
    drivers = build_drivers(plan.config, image.exports, journal, builds)
    with journal.step("remove leftovers") as found:
        found["removed"] = [str(leftover.path) for leftover in remove_leftovers(home / "runs")]
    environment = {
        "winvm": version("winvm"),
        "image": image.digest,
        **{f"image {name}": value for name, value in image.versions.items()},
        "accelerator": probe.accelerator,
        **{f"driver {build}": content_hash(path) for build, path in drivers.items()},
        **{f"parameter {name}": str(value) for name, value in plan.parameters.items()},
    }
    driver = plan.config.driver
    payload = Payload(plan.agent, driver.name, drivers, driver.contract, plan.parameters)
    spec = MachineSpec.checked(image.folder, plan.profile, probe.accelerator)
    return Prepared(image, spec, payload, environment)


def start_guest(
    plan: Plan, prepared: Prepared, folder: RunFolder, artifacts: Artifacts, stack: ExitStack
) -> Bench:
    """A machine in `folder`, restored from the ready state; what must be ended later is put on `stack`."""
    timeouts, guest = plan.profile.timeouts, WineGuest(prepared.image)
    with artifacts.journal.step("start guest"):
        boot = Deadline.after(timeouts.boot)
        restore = Deadline.after(timeouts.boot + timeouts.restore)
        try:
            machine, ready = launch(prepared.spec, folder, guest.wait_ready, boot, restore)
        except InfrastructureError:
            base.verify(
                prepared.image
            )  # a disk that rots unseen explains more than a guest that does not boot
            raise
        stack.callback(_end, machine, folder)
    environment = dict(prepared.environment)
    bench = Bench(guest, machine, plan.profile, prepared.payload, artifacts, ready.facts, environment)
    stack.callback(bench.disconnect)
    return bench


def _assemble(plan: Plan, artifacts: Artifacts, stack: ExitStack) -> tuple[Bench, RunFolder, BaseImage]:
    """Every stage up to a started machine; what must be ended later is put on `stack`."""
    prepared = prepare(plan, artifacts.journal)
    folder = stack.enter_context(RunFolder.create(configuration.home() / "runs", plan.config.guest.uri))
    return start_guest(plan, prepared, folder, artifacts, stack), folder, prepared.image


def _end(machine: LibvirtMachine, folder: RunFolder) -> None:
    if not folder.kept:
        machine.destroy()
