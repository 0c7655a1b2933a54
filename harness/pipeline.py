"""The whole flow, top to bottom: configuration -> driver -> image -> machine -> agent -> scenarios.

Only this module knows all stages; every stage is a step in the journal.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness import config as configuration
from harness.artifacts import Artifacts
from harness.bench import Bench, Payload
from harness.build.driver import build_driver
from harness.build.inspect import inspect_driver
from harness.build.sign import TestCertificate, sign, verify
from harness.config import Config
from harness.deadline import Deadline
from harness.guests.wine import WineGuest
from harness.images import base, wine
from harness.journal import Journal
from harness.live import LiveGuest
from harness.machine.accelerator import choose_accelerator
from harness.machine.domain import MachineSpec
from harness.machine.leftovers import remove_leftovers
from harness.machine.machine import LibvirtMachine
from harness.machine.ready import ready_state
from harness.machine.runfolder import RunFolder
from harness.plan import Plan, build_lock
from harness.transports.sftp import SftpTransfer
from harness.transports.winrm import WinRmTransport

PROBE_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Reached:
    """Connections to a guest that is up."""

    transport: WinRmTransport
    files: SftpTransfer


def build_drivers(config: Config, exports: Path | None, journal: Journal) -> dict[str, Path]:
    """Compiles, signs and inspects every build; returns build name -> `.sys`.

    Args:
        exports: the guest image's list of what its Wine implements; imports beyond it become notes.

    Raises:
        BuildError: any of it fails.
    """
    drivers = {}
    with build_lock(config):
        certificate = TestCertificate.ensure(config.build_folder / "certificate")
        for build in config.driver.builds:
            with journal.step(f"build driver ({build})") as found:
                output = config.build_folder / "driver" / build
                driver = build_driver(
                    config.driver_folder, config.driver.build, config.driver.name, build, output
                )
                sign(driver, certificate)
                verify(driver, certificate)
                for line in inspect_driver(driver, exports):
                    journal.note(f"{driver.name} ({build}): {line}")
                found["sha256"] = hashlib.sha256(driver.read_bytes()).hexdigest()
            drivers[build] = driver
    return drivers


def open_bench(plan: Plan, artifacts: Artifacts) -> Bench:
    """From a plan to a running guest with agent and driver; `Bench.close` ends all of it.

    Raises:
        WinvmError: a stage fails; everything started by then is ended.
    """
    with ExitStack() as stack:
        bench, _ = _assemble(plan, artifacts, stack)
        bench.connect(plan.config.driver.builds[0])
        bench.on_close = stack.pop_all().close
    return bench


def bring_up(plan: Plan, artifacts: Artifacts, build: str) -> LiveGuest:
    """A guest with one driver build loaded, which outlives this process until its run folder is removed.

    Raises:
        WinvmError: a stage fails; nothing is left then.
    """
    with ExitStack() as stack:
        bench, folder = _assemble(plan, artifacts, stack)
        bench.connect(build)
        machine = bench.machine
        live = LiveGuest(
            folder=folder.path,
            profile=plan.profile.name,
            image=bench.guest.image.folder,
            address=machine.address,
            ports=dict(machine.ports),
            machine=machine.folder,
        )
        bench.detach()
        live.save()
        folder.keep()
    return live


def reach(live: LiveGuest) -> Reached:
    """Connections to the guest that is up; nothing is opened yet.

    Raises:
        ImageError: its image is gone or damaged.
    """
    guest = WineGuest(base.load(live.image))
    return Reached(guest.transport(live), guest.files(live))


def _assemble(plan: Plan, artifacts: Artifacts, stack: ExitStack) -> tuple[Bench, RunFolder]:
    """Every stage up to a started machine; what must be ended later is put on `stack`."""
    journal, home = artifacts.journal, configuration.home()
    with journal.step("guest image"):
        image = wine.ensure(home, journal)
    drivers = build_drivers(plan.config, image.exports, journal)
    guest = WineGuest(image)
    with journal.step("choose accelerator") as found:
        probe = choose_accelerator(home / "accelerator.json", Deadline.after(PROBE_DEADLINE_S))
        found["accelerator"], found["reason"] = probe.accelerator, probe.reason
    with journal.step("remove leftovers") as found:
        found["removed"] = [str(leftover.path) for leftover in remove_leftovers(home / "runs")]
    folder = stack.enter_context(RunFolder.create(home / "runs"))
    spec = MachineSpec.checked(image.folder, plan.profile, probe.accelerator)
    timeouts = plan.profile.timeouts
    with journal.step("ready state"):
        ready = ready_state(spec, folder, guest.wait_ready, Deadline.after(timeouts.boot))
    machine = stack.enter_context(LibvirtMachine(folder, spec, ready))
    with journal.step("restore guest"):
        machine.start(Deadline.after(timeouts.restore))
    payload = Payload(plan.agent, plan.config.driver.name, drivers, plan.config.driver.contract)
    environment = {
        "winvm": version("winvm"),
        "image": image.digest,
        **{f"image {name}": value for name, value in image.versions.items()},
        "accelerator": probe.accelerator,
        **{
            f"driver {build}": hashlib.sha256(path.read_bytes()).hexdigest()
            for build, path in drivers.items()
        },
    }
    bench = Bench(guest, machine, plan.profile, payload, artifacts, environment)
    stack.callback(bench.disconnect)
    return bench, folder
