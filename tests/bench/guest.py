"""One guest for all measurements that do not need their own; it is started as `winvm run` starts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.guests.wine.guest import WineGuest, WineLink
from harness.machine.runfolder import RunFolder
from harness.outcome import Scenario
from harness.project import config
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.pipeline import Prepared, prepare, start_guest
from harness.run.plan import Plan, make_plan
from tests.bench.project import Project


@dataclass(frozen=True)
class Subject:
    """A running guest with agent and driver, and what it was prepared from."""

    bench: Bench
    plan: Plan
    prepared: Prepared
    folder: RunFolder

    @property
    def guest(self) -> WineGuest:
        """How the guest is reached."""
        guest = self.prepared.installed.guest
        assert isinstance(guest, WineGuest)
        return guest

    @property
    def link(self) -> WineLink:
        """Connections to it as it runs now."""
        link = self.bench.guest.link
        assert isinstance(link, WineLink)
        return link

    def scenario(self, name: str) -> Scenario:
        """One of the plan's scenarios."""
        return next(scenario for scenario in self.plan.scenarios if scenario.name == name)


@contextmanager
def subject(project: Project) -> Iterator[Subject]:
    """A guest for the time of the context."""
    plan = make_plan(config.load(project.config_path), None)
    artifacts = Artifacts(plan.config.artifacts_folder)
    with ExitStack() as stack:
        prepared = prepare(plan, artifacts.journal)
        folder = stack.enter_context(RunFolder.create(project.home / "runs"))
        bench = start_guest(prepared, folder, artifacts, stack)
        bench.connect("release")
        yield Subject(bench, plan, prepared, folder)
