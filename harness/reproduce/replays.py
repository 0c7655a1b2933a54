"""The flow of `winvm reproduce`: checks a bundle, starts its guest, replays the crash N times, minimises it.

No code of the bundle runs on this host: agent and driver run in the guest. llvm-symbolizer and llvm-pdbutil
read the driver's PDB here, for the signature of a replay's crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.bundle.manifest import Manifest, profile_document
from harness.bundle.payload import Payload
from harness.bundle.read import Bundle, unpack
from harness.dumps.signature import recurs
from harness.errors import ConfigurationError, DriverLoadError
from harness.journal import Listener, StepKind
from harness.machine.runfolder import RunFolder
from harness.outcome import CrashRecord, Outcome, Scenario, ScenarioResult
from harness.project import config as configuration
from harness.project.config import Config, DriverSection
from harness.project.profile import CAPABILITIES, VERIFIER, Profile
from harness.project.profiles import find_profile
from harness.reproduce.minimise import minimise
from harness.reproduce.operations import Operation, recorded
from harness.reproduce.trials import Trials
from harness.results import write_json
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.pipeline import prepare_replay, start_guest
from harness.run.plan import Plan
from harness.toolchain.deployed import Companion
from harness.toolchain.package import take_package

KIND = "reproduce"
LACKING = "missing_capabilities"
RESULT, MINIMAL = "reproduce.json", "minimal.json"


@dataclass(frozen=True)
class Request:
    """The options of `winvm reproduce`."""

    bundle: Path
    config: Config
    times: int = 3
    minimise: bool = False
    any_image: bool = False


@dataclass(frozen=True)
class Attempt:
    """Result of one replay; `signature` is empty when nothing crashed."""

    outcome: Outcome
    message: str
    signature: str = ""
    folder: str = ""


@dataclass
class Reproduction:
    """Result of all replays.

    Attributes:
        recorded: operations in the journal that a replay can issue; `left_out` names the others.
        minimal: the minimal operations that still crash; empty if not requested, or not found.
        recurred: how many of `times` replays of the minimal operations crashed with the same signature.
        unminimised: why there are no minimal operations.
        differences: between the bundle's environment and this host's; empty where the replay is exact.
    """

    bundle: Path
    manifest: Manifest
    artifacts: Path
    attempts: list[Attempt] = field(default_factory=list)
    recorded: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    minimal: list[Operation] = field(default_factory=list)
    recurred: int = 0
    trials: int = 0
    unminimised: str = ""
    differences: list[str] = field(default_factory=list)

    @property
    def reproduced(self) -> int:
        """How many replays ended in the bundle's signature."""
        return sum(recurs(self.manifest.signature, attempt.signature) for attempt in self.attempts)

    def document(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        minimal = [operation.model_dump() for operation in self.minimal]
        return {
            "bundle": str(self.bundle),
            "signature": self.manifest.signature,
            "trigger": self.manifest.trigger.name,
            "times": len(self.attempts),
            "reproduced": self.reproduced,
            "attempts": [vars(attempt) for attempt in self.attempts],
            "recorded": self.recorded,
            "left_out": dict(self.left_out),
            "minimal": minimal,
            "recurred": self.recurred,
            "trials": self.trials,
            "unminimised": self.unminimised,
            "differences": self.differences,
            "artifacts": str(self.artifacts),
        }


def reproduce(request: Request, step: Listener, named: Callable[[Bundle], None]) -> Reproduction:
    """Replays the crash of a bundle.

    Args:
        step: called with each step.
        named: called with what will be executed, before it is executed.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigurationError: the bundle cannot be replayed on this host.
        InfrastructureError: the guest cannot be restored.
    """
    artifacts, started = Artifacts(request.config.artifacts_folder / "reproduce"), time.time()
    artifacts.journal.listen(step)
    environment: dict[str, str] = {}
    guest = ""
    try:
        with artifacts.journal.step(StepKind.SETUP, "check bundle"):
            bundle = unpack(request.bundle, artifacts.path / "bundle")
        manifest, guest = bundle.manifest, bundle.manifest.guest
        profile = checked_profile(manifest, request.config.root, any_image=request.any_image)
        if manifest.trigger.kind == "elsewhere":
            raise ConfigurationError(
                f"{manifest.trigger.name}, in which {request.bundle.name} was made, is a pytest test that "
                "used the guest by hand; a bundle cannot replay it.",
                remedy="Run that test again; the bundle holds the evidence of its crash.",
            )
        named(bundle)
        found = Reproduction(request.bundle, manifest, artifacts.path)
        try:
            with ExitStack() as stack:
                bench = _bench(request, bundle, profile, artifacts, stack)
                environment |= bench.guest.environment
                found.differences = differences(manifest.environment, bench.guest.environment)
                replay(request, bundle, bench, artifacts, found)
        finally:
            write_json(artifacts.path / RESULT, found.document())
    finally:
        artifacts.finish(guest, started, environment=environment)
    return found


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Entries that both environments have, with different values."""
    return [
        f"{name}: {there[name]} there, {here[name]} here"
        for name in sorted(there.keys() & here.keys())
        if there[name] != here[name]
    ]


def checked_profile(manifest: Manifest, project: Path | None = None, *, any_image: bool) -> Profile:
    """The installed profile of the bundle's name, with Driver Verifier if the crash had it.

    A scenario does what it did before the crash: it is told the capabilities that the guest had then.

    Raises:
        ConfigurationError: there is none, or it differs from the bundle's and --any-image was not given.
    """
    profile = find_profile(manifest.guest, project)
    if not manifest.driver.verified:
        profile = profile.without(VERIFIER)
    here, there = profile_document(profile), manifest.profile
    names = (here.keys() | there.keys()) - {LACKING}
    different = sorted(name for name in names if here.get(name) != there.get(name))
    if different and not any_image:
        changes = "; ".join(f"{name}: {there.get(name)} there, {here.get(name)} here" for name in different)
        raise ConfigurationError(
            f"The profile {manifest.guest} is not the one of the crash ({changes[:1000]}).",
            remedy="Use the winvm that made the bundle, or replay it in today's guest: --any-image",
        )
    lacked = there.get(LACKING)
    known = CAPABILITIES.intersection(map(str, lacked)) if isinstance(lacked, list) else frozenset()
    return profile.model_copy(update={LACKING: profile.missing_capabilities | known})


def _bench(
    request: Request, bundle: Bundle, profile: Profile, artifacts: Artifacts, stack: ExitStack
) -> Bench:
    manifest, driver = bundle.manifest, bundle.manifest.driver
    payload = Payload(
        bundle.agent,
        driver.service,
        {driver.build: bundle.driver},
        driver.contract,
        manifest.trigger.parameters,
        manifest.trigger.seed,
        {driver.build: take_package(bundle.inf)} if bundle.inf else {},
        driver.made,
        bundle.files,
        tuple(
            Companion(other.service, {driver.build: bundle.companion(other)}, other.made, other.before)
            for other in manifest.companions
        ),
    )
    plan = Plan(
        config=request.config.model_copy(update={"driver": DriverSection(name=driver.service)}),
        profile=profile,
        agent=bundle.agent,
        scenarios=(),
        parameters=manifest.trigger.parameters,
        verifier=driver.verified,
    )
    journal = artifacts.journal
    prepared = prepare_replay(plan, payload, manifest.image, journal, any_image=request.any_image)
    runs = configuration.home() / "runs"
    folder = stack.enter_context(RunFolder.create(runs, request.config.guest.uri))
    bench = start_guest(prepared, folder, artifacts, stack)
    bench.crashes.bundles = False
    return bench


def replay(request: Request, bundle: Bundle, bench: Bench, artifacts: Artifacts, found: Reproduction) -> None:
    """Replays the crash `times` times, then minimises it if requested; fills in `found`.

    Raises:
        InfrastructureError: the guest cannot be restored.
        BundleError: the bundle's journal cannot be used.
    """
    trigger = bundle.manifest.trigger
    driver = bundle.manifest.driver
    scenario = Scenario(
        trigger.name, KIND, build=driver.build, deadline_s=trigger.deadline_s, case=trigger.case
    )
    for number in range(1, request.times + 1):
        with artifacts.journal.step(StepKind.REPLAY, f"replay {number} of {request.times}") as told:
            bench.guest.restore()
            result = _once(bench, scenario, trigger.kind)
            artifacts.add(result)
            found.attempts.append(_attempt(result))
            told["signature"] = found.attempts[-1].signature
    if request.minimise:
        with artifacts.journal.step(StepKind.REPLAY, "minimise"):
            _minimise(request, bundle, scenario, bench, artifacts, found)


def _once(bench: Bench, scenario: Scenario, kind: str) -> ScenarioResult:
    if kind == "scenario":
        return bench.run(scenario)
    before = bench.crashes.last
    try:
        bench.load(scenario.build)
        if kind == "unload":
            bench.unload()
    except DriverLoadError as error:
        crash: CrashRecord | None = None if bench.crashes.last is before else bench.crashes.last
        outcome = Outcome.CRASHED if crash else Outcome.FAILED
        return ScenarioResult(scenario.name, KIND, outcome, error.message, crash=crash)
    return ScenarioResult(scenario.name, KIND, Outcome.PASSED)


def _attempt(result: ScenarioResult) -> Attempt:
    crash = result.crash
    if crash is None:
        return Attempt(result.outcome, result.message)
    return Attempt(result.outcome, result.message, crash.signature, str(crash.folder))


def _minimise(
    request: Request,
    bundle: Bundle,
    scenario: Scenario,
    bench: Bench,
    artifacts: Artifacts,
    found: Reproduction,
) -> None:
    """Fills in the minimal operations, or the reason why there are none."""
    if bundle.manifest.trigger.kind != "scenario":
        found.unminimised = "no scenario was running, so no operations were journalled"
        return
    if not found.reproduced:
        found.unminimised = "the crash did not recur"
        return
    recording = recorded(bundle.journal, scenario.name)
    found.recorded, found.left_out = len(recording.operations), recording.left_out
    trials = Trials(bench, scenario, bundle.manifest.signature)
    try:
        if not trials.settle(recording.operations):
            found.unminimised = (
                "the journalled operations alone, one after another, do not reproduce this crash"
            )
            return
        for fresh in (
            False,
            True,
        ):  # earlier trials may have changed the guest: then repeat in fresh ones
            trials.fresh = fresh
            minimal = minimise(recording.operations, trials.crashes)
            found.recurred = sum(trials.afresh(minimal) for _ in range(request.times))
            if found.recurred:
                break
        found.minimal = minimal
        write_json(artifacts.path / MINIMAL, [operation.model_dump() for operation in minimal])
    finally:
        found.trials = trials.count
