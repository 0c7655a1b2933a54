"""Finds out which capabilities a guest image has: the probes of `vm/capabilities` run in it, once.

They run before an image's first scenario, and again when the probes have changed, not while it is built: they
need a machine, which a build does not, and the image's key must not depend on them.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pefile

from harness.deadline import Deadline
from harness.dumps.formats.reader import summarise
from harness.errors import ConfigurationError, InfrastructureError, WinvmError
from harness.host.locks import hold
from harness.host.resources import vm_folder
from harness.interfaces import Transport
from harness.journal import Journal, StepKind
from harness.machine.runfolder import RunFolder
from harness.outcome import Outcome, Scenario, ScenarioResult
from harness.project import config as configuration
from harness.project import measured
from harness.project.measured import Found, Measured, Verdict
from harness.project.profile import CAPABILITIES, INF_PACKAGE, VERIFIER, Profile
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.pipeline import Prepared, prepare, start_guest
from harness.run.plan import make_plan

SOURCES = ("*.toml", "*.c", "scenarios/*.py")
MODULE = "probe"
UNSIGNED = "unsigned"
KERNEL_DUMP = "kernel-dump"
DUMP = "memory.dmp"
DIFFERS = "differs: "
ASKED_BUGCHECK = 0xE2
PNPUTIL = ("pnputil.exe", "/enum-drivers")
COMMAND_S = 60.0
LONGEST = 500
"""Characters of a message that are kept."""


def probes_digest() -> str:
    """Hex SHA-256 over driver, scenarios and configuration of the probes."""
    digest, folder = hashlib.sha256(), sources()
    for file in sorted(path for kind in SOURCES for path in folder.glob(kind)):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def ensure_probed(profile: Profile, journal: Journal, manifest: Path) -> Measured | None:
    """What an image was found to have; measured in a guest of this profile if nobody has done so.

    A failure to measure is a warning: what was not tried stays untried. Processes that ask at the same time
    wait for one of them.
    """
    if current := _current(manifest):
        return current
    waiting = "waiting for another process that finds out what the image can show"
    try:
        with hold(manifest.with_name(".lock-probes"), lambda: journal.note(waiting)):
            return _current(manifest) or probe(profile, journal)
    except WinvmError as error:
        journal.warn(f"The image's capabilities are untried: {error.message}")
        return measured.read(manifest)


def _current(manifest: Path) -> Measured | None:
    """What the probes of this winvm found in an image."""
    found = measured.read(manifest)
    return found if found and found.probes == probes_digest() else None


def probe(profile: Profile, journal: Journal) -> Measured:
    """Runs all probes in a guest of this profile, and writes what they found into its image's manifest.

    The image is built first if there is none and the flavour can.

    Raises:
        WinvmError: no guest could be started, or the probes' driver did not load.
    """
    with tempfile.TemporaryDirectory(prefix="probes-", dir=configuration.home()) as folder:
        place = Path(folder) / "probes"
        shutil.copytree(sources(), place, ignore=shutil.ignore_patterns("build", "__pycache__"))
        with journal.step(StepKind.SETUP, "probe the image's capabilities"):
            return _measure(profile, place)


def _measure(profile: Profile, place: Path) -> Measured:
    config = configuration.load(place / configuration.FILE_NAME)
    bare = profile.model_copy(
        update={"missing_capabilities": frozenset(), "untried_capabilities": frozenset()}
    )
    plan = dataclasses.replace(make_plan(config, None), profile=bare)
    artifacts = Artifacts(plan.config.artifacts_folder)
    prepared = dataclasses.replace(prepare(plan, artifacts.journal, ["release"]), profile=bare)
    drivers = prepared.payload.drivers
    drivers = {**drivers, UNSIGNED: without_signature(drivers["release"], place / UNSIGNED)}
    prepared = dataclasses.replace(prepared, payload=dataclasses.replace(prepared.payload, drivers=drivers))
    able = VERIFIER not in profile.missing_capabilities  # of a run with Driver Verifier
    watched = [scenario for scenario in plan.scenarios if able and capability(scenario) == VERIFIER]
    found = _in_guest(prepared, [one for one in plan.scenarios if one not in watched], artifacts)
    if watched:
        verified = dataclasses.replace(plan, verifier=True)
        try:
            prepared = dataclasses.replace(prepare(verified, artifacts.journal, ["release"]), profile=bare)
            found |= _in_guest(prepared, watched, artifacts)
        except WinvmError as error:
            found[VERIFIER] = Found(outcome="error", message=error.message[:LONGEST])
    result = Measured(
        probes=probes_digest(),
        measured=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        profile=profile.name,
        accelerator=prepared.environment["accelerator"],
        found=found,
    )
    measured.write(prepared.installed.image.manifest, result)
    return result


def _in_guest(prepared: Prepared, scenarios: Iterable[Scenario], artifacts: Artifacts) -> dict[str, Found]:
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder.create(configuration.home() / "runs"))
        bench = start_guest(prepared, folder, artifacts, stack)
        stack.callback(bench.close)
        bench.crashes.bundles = False
        bench.connect("release")
        return {INF_PACKAGE: inf_package(bench.guest.link.transport)} | run_probes(bench, scenarios)


def run_probes(bench: Bench, scenarios: Iterable[Scenario]) -> dict[str, Found]:
    """Runs probes one after another; a crash or a hang of one restores the guest for the next.

    If the guest cannot be restored any more, the rest stays untried.
    """
    found: dict[str, Found] = {}
    for scenario in scenarios:
        try:
            result = bench.run(scenario)
        except InfrastructureError as error:
            found[capability(scenario)] = Found(outcome="lost", message=error.message[:LONGEST])
            break
        found[capability(scenario)] = finding(result, dump_of(bench, result))
    return found


def capability(scenario: Scenario) -> str:
    """The capability that a probe is for, by its name."""
    name = scenario.name.removeprefix(f"{MODULE}.").replace("_", "-")
    if name not in CAPABILITIES:
        raise ConfigurationError(f"{scenario.file}:{scenario.line}: {name} is no capability of any guest.")
    return name


def finding(result: ScenarioResult, dump: str | None = "") -> Found:
    """What a probe's result says about its capability.

    Args:
        dump: for the probe of the kernel dump, what is wrong with the dump; None for other probes.
    """
    message = result.message
    match result.outcome:
        case Outcome.PASSED:
            differences = [note for note in result.notes if note.startswith(DIFFERS)]
            verdict = Verdict.DIFFERS if differences else Verdict.SHOWN
            message = "; ".join(note.removeprefix(DIFFERS) for note in differences)
            if dump:
                verdict, message = Verdict.NOT_SHOWN, dump
        case Outcome.LOST:
            verdict = Verdict.UNTRIED
        case _:
            verdict = Verdict.NOT_SHOWN
    return Found(verdict=verdict, outcome=result.outcome, message=message[:LONGEST])


def dump_of(bench: Bench, result: ScenarioResult) -> str | None:
    """What is wrong with the kernel dump that the probe for it asked for; None for another probe."""
    if result.name != f"{MODULE}.{KERNEL_DUMP.replace('-', '_')}":
        return None
    crash = bench.crashes.last
    if crash is None or not (crash.folder / DUMP).is_file():
        return "; ".join(crash.notes)[:LONGEST] if crash and crash.notes else "the crash left no kernel dump"
    try:
        held = summarise(crash.folder / DUMP).bugcheck
    except WinvmError as error:
        return error.message
    return "" if held and held.code == ASKED_BUGCHECK else "the dump does not hold the bugcheck"


def inf_package(transport: Transport) -> Found:
    """Whether the guest has what installs INF packages; that one installs is not tried."""
    try:
        done = transport.run(PNPUTIL, Deadline.after(COMMAND_S))
    except InfrastructureError as error:
        return Found(verdict=Verdict.NOT_SHOWN, outcome="error", message=error.message[:LONGEST])
    if done.exit_code:
        message = f"{' '.join(PNPUTIL)} ended with {done.exit_code:#x}"
        return Found(verdict=Verdict.NOT_SHOWN, outcome="failed", message=message)
    if not done.stdout.strip():
        return Found(verdict=Verdict.NOT_SHOWN, outcome="failed", message=f"{' '.join(PNPUTIL)} says nothing")
    return Found(message="pnputil lists the packages; none was installed")


def without_signature(driver: Path, folder: Path) -> Path:
    """A copy of a driver without its Authenticode signature, its checksum valid."""
    folder.mkdir(parents=True)
    with pefile.PE(str(driver)) as image:
        directory = image.OPTIONAL_HEADER.DATA_DIRECTORY[4]
        end = directory.VirtualAddress or len(image.__data__)
        directory.VirtualAddress = directory.Size = 0
        content = bytes(image.write())[:end]
    with pefile.PE(data=content) as image:
        image.OPTIONAL_HEADER.CheckSum = image.generate_checksum()
        (folder / driver.name).write_bytes(bytes(image.write()))
    return folder / driver.name


def sources() -> Path:
    """The project that the probes are."""
    return vm_folder() / "capabilities"
