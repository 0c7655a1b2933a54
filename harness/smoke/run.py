"""One smoke run: the warm guest or a new one, the chosen scenarios, the verdict, the guest suspended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.agent.session import Debugging
from harness.deadline import Deadline
from harness.errors import ConfigurationError, DriverLoadError, InfrastructureError, MachineError, WinvmError
from harness.host.digest import file_sha256
from harness.host.locks import hold
from harness.journal import Listener, StepKind
from harness.machine.machine import LibvirtMachine
from harness.machine.runfolder import RunFolder
from harness.machine.savedstate import ReadyState
from harness.outcome import Scenario, ScenarioResult
from harness.project import config as configuration
from harness.project.config import Config
from harness.project.profile import CAPABILITIES
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.known import of_present_image
from harness.run.live import project_key
from harness.run.origin import DRIVER, origin
from harness.run.pipeline import Prepared, prepare, start_guest
from harness.run.plan import Plan, make_plan
from harness.run.probing import ensure_probed
from harness.run.prune import tidy
from harness.run.skip import skipped
from harness.smoke.selection import DEFAULT_MARKER, select
from harness.smoke.verdict import SmokeVerdict
from harness.smoke.warm import WarmGuest, find, unfit

ATTACH_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Request:
    """What the user asks for; see `select` for `keyword`, `marker` and `words`.

    debugging: who answers breakpoint(); None if nobody does. builds: as for `make_plan`. default: the marker
    where nothing chooses; None for all scenarios. only: of the chosen ones, those of these exact names.
    """

    config: Config
    guest: str | None = None
    keyword: str | None = None
    marker: str | None = None
    words: tuple[str, ...] = ()
    debugging: Debugging | None = None
    builds: tuple[str, ...] = ()
    default: str | None = DEFAULT_MARKER
    only: frozenset[str] | None = None


@dataclass(frozen=True)
class Told:
    """Callbacks that print a run's progress, results and verdict; `finished` gets its folder."""

    waiting: Callable[[], None]
    step: Listener
    result: Callable[[ScenarioResult], None]
    verdict: Callable[[SmokeVerdict], None]
    refused: Callable[[DriverLoadError], None]
    finished: Callable[[Path], None] = lambda _: None


def smoke(request: Request, told: Told, started: float) -> int:
    """Runs the chosen scenarios and suspends the guest for the next time; returns the exit code.

    The verdict is printed before the guest is suspended. Invocations for a project run one after another.

    Args:
        started: `time.monotonic()` of the invocation or the save.

    Raises:
        WinvmError: a stage fails; the guest has been ended.
    """
    home, config = configuration.home(), request.config
    if config.guest.uri:
        raise ConfigurationError(
            f"A guest on {config.guest.uri} cannot be kept warm.",
            remedy="Remove guest.uri from winvm.toml, or use: winvm run -m smoke",
        )
    project = project_key(config.root, request.guest or config.guest.profile)
    locks = home / "smoke"
    locks.mkdir(parents=True, exist_ok=True)
    with hold(locks / f"{project}.lock", told.waiting):
        plan = make_plan(config, request.guest, request.builds)
        chosen = _chosen(plan, request)
        artifacts = Artifacts(config.artifacts_folder / "smoke")
        artifacts.journal.listen(told.step)
        environment: dict[str, str] = {}
        try:
            return _run(plan, chosen, project, artifacts, told, started, environment, request.debugging)
        finally:
            missing = tuple(sorted(CAPABILITIES - of_present_image(plan.profile).capabilities))
            artifacts.finish(
                plan.profile.name,
                time.time() - (time.monotonic() - started),
                missing,
                {DRIVER: config.driver.name, **origin(config.root), **environment},
                planned=len(chosen),
                source="smoke",
                partial=True,
            )
            told.finished(artifacts.path)


def _chosen(plan: Plan, request: Request) -> tuple[Scenario, ...]:
    chosen = select(plan.scenarios, request.keyword, request.marker, request.words, request.default)
    if request.only is None:
        return chosen
    chosen = tuple(one for one in chosen if one.name in request.only)
    if not chosen:
        named = ", ".join(sorted(request.only)[:3])
        raise ConfigurationError(f"There is no scenario {named}.", remedy="List them with `winvm list`.")
    return chosen


def _run(
    plan: Plan,
    chosen: tuple[Scenario, ...],
    project: str,
    artifacts: Artifacts,
    told: Told,
    started: float,
    environment: dict[str, str],
    debugging: Debugging | None,
) -> int:
    first = plan.config.driver.builds[0]
    builds = {scenario.build or first for scenario in chosen}
    prepared = prepare(plan, artifacts.journal, builds, ensure_probed)
    drivers = {build: file_sha256(path) for build, path in prepared.payload.drivers.items()}
    with ExitStack() as stack:
        bench, folder, warm = _guest(plan, prepared, project, artifacts, stack)
        generation, bench.debugging = bench.guest.machine.generation, debugging
        try:
            bench.connect(next(iter(drivers)))
            warm = warm and bench.guest.machine.generation == generation
            for scenario in chosen:
                result = skipped(prepared.profile, scenario) or bench.run(scenario)
                artifacts.add(result)
                told.result(result)
            bench.unload()
        except DriverLoadError as error:
            code = error.exit_code
            told.refused(error)
        else:
            verdict = SmokeVerdict(dict(artifacts.counts), time.monotonic() - started, drivers, warm)
            code = verdict.exit_code
            told.verdict(verdict)
        environment |= bench.guest.environment
        try:
            handover = bench.guest.hand_over()
        except WinvmError as error:
            artifacts.journal.note(f"the guest is not kept: {error.message}")
        else:
            WarmGuest(project=project, agent=file_sha256(plan.agent), handover=handover).save(folder.path)
            folder.keep()
    if code == 0:
        tidy(configuration.home(), plan.config.artifacts_folder, artifacts.journal)
    return code


def _guest(
    plan: Plan, prepared: Prepared, project: str, artifacts: Artifacts, stack: ExitStack
) -> tuple[Bench, RunFolder, bool]:
    """The warm guest, still suspended (True), or a new one; `stack` gets what must be ended later."""
    runs = configuration.home() / "runs"
    if path := find(runs, project):
        attached = stack.enter_context(ExitStack())
        try:
            with artifacts.journal.step(StepKind.RESTORE, "attach to the warm guest"):
                folder = attached.enter_context(RunFolder.attach(path, Deadline.after(ATTACH_DEADLINE_S)))
                bench = _attach(folder, plan, prepared, artifacts, attached)
        except InfrastructureError as error:
            attached.close()
            artifacts.journal.note(f"a new guest replaces the warm one: {error.message}")
        else:
            return bench, folder, True
    folder = stack.enter_context(RunFolder.create(runs))
    return start_guest(prepared, folder, artifacts, stack), folder, False


def _attach(
    folder: RunFolder, plan: Plan, prepared: Prepared, artifacts: Artifacts, stack: ExitStack
) -> Bench:
    """Raises `InfrastructureError` if the guest is unusable; it is ended then, as its folder is not kept."""
    folder.own()
    machine = stack.enter_context(LibvirtMachine.attach(folder))
    warm = WarmGuest.load(folder.path)
    if warm is None:
        raise MachineError("The warm guest's record is damaged.")
    spec = prepared.installed.spec
    ready = ReadyState.find(spec.image, spec.ready_key(folder.connection.versions()))
    reason = unfit(warm, machine.state(), machine.spec, spec, ready, file_sha256(plan.agent))
    if reason:
        raise MachineError(reason)
    return prepared.bench(machine, artifacts, warm.handover.standby, stack, warm.handover)
