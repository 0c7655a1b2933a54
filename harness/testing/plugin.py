"""pytest plugin: one item per scenario, run in a guest that the session shares.

A test module asks for the `winvm_scenario` fixture and is called once for every scenario that winvm.toml
names:

    def test_scenario(winvm_scenario):
        winvm_scenario.check()

Options are in harness.testing.options.
Markers: a scenario's kind and its tags, and `winvm_needs`. Further fixtures are in
harness.testing.fixtures, the session's state in harness.testing.session.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from harness.display.terminal import lines_of, printable
from harness.display.unexpected import as_winvm_error
from harness.testing.distribution import Controller, Worker
from harness.testing.ending import ending_the_session
from harness.testing.need import needs_guest
from harness.testing.options import add_options, assume, lengthen
from harness.testing.own_tests import OwnTests
from harness.testing.session import Session

LOG = "Captured log"
LOG_LINE = re.compile(r"[A-Z]+ +([\w.]+):\S+:\d+ ")
"""The first line of a log record as pytest shows it, with its logger."""
pytest_plugins = ("harness.testing.fixtures",)

if TYPE_CHECKING:
    from harness.outcome import Scenario, ScenarioResult
    from harness.run.bench import Bench


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds winvm's options."""
    add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None]:
    """Replaces winvm's short options once it is known which of them other plugins define."""
    assume(early_config, parser, args)
    yield
    lengthen(parser, args)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the state of this session and the one marker that is not a scenario's."""
    config.addinivalue_line(
        "markers", "winvm_needs(*capabilities): skip the test unless the guest has all of these capabilities"
    )
    session = Session(config)
    config.pluginmanager.register(session, Session.NAME)
    config.pluginmanager.register(OwnTests(session))
    config.pluginmanager.register(Worker(session) if hasattr(config, "workerinput") else Controller())
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from harness.testing.github import GithubStep

        config.pluginmanager.register(GithubStep(session))


class ScenarioRun:
    """What a test gets as `winvm_scenario`."""

    def __init__(self, scenario: Scenario, session: Session, node: pytest.Item) -> None:
        self.scenario = scenario
        self._session = session
        self._node = node

    def run(self) -> ScenarioResult:
        """Runs the scenario and records its result; a missing capability skips the test."""
        result = self._run()
        self._report(result)
        return result

    def check(self) -> None:
        """Runs the scenario, as often as `--winvm-repeat` says; fails the test unless each run passed."""
        from harness.outcome import GOOD, Outcome

        times = int(self._session.option("--winvm-repeat"))
        failures = 0
        shown: ScenarioResult | None = None
        for result in self._results(times):
            good = result.outcome in GOOD
            if shown is None or (
                not good and not failures
            ):  # the first failure is reported: it is closest to the cause
                shown = result
            failures += not good
        assert shown
        self._report(shown)
        if failures:
            from harness.report.shown import result_lines

            evidence = result_lines(shown, self._session.source_folders)
            if times > 1:
                evidence.insert(0, f"{failures} of {times} runs did not pass; the first of them:")
            if self._session.post_mortem:
                from harness.testing.debugging import DebuggedError

                raise DebuggedError("\n".join(evidence), pytrace=False)
            pytest.fail("\n".join(evidence), pytrace=False)
        if shown.outcome is Outcome.SKIPPED:
            pytest.skip(" ".join(lines_of(shown.message)))
        if shown.outcome is Outcome.DIFFERS:
            pytest.xfail(" ".join(lines_of(shown.message)))

    def _results(self, times: int) -> Iterator[ScenarioResult]:
        """A result for each of the runs that the options ask for."""
        from harness.testing.low_memory import has_failed, plans

        failing = False
        for plan in plans(self._session.option, self.scenario.name):
            failing = True
            result = self._run(plan)
            yield result
            if not has_failed(result):
                return
        for _ in range(0 if failing else times):
            yield self._run()

    def _run(self, plan: int = 0) -> ScenarioResult:
        from harness.run.skip import skipped
        from harness.testing.low_memory import judged

        if self.scenario.needs:
            self._leave_out_if(skipped(self._session.profile(), self.scenario))
        bench = self._session.bench()
        if self.scenario.needs:  # the image may only just have been made and probed
            self._leave_out_if(skipped(bench.guest.profile, self.scenario))
        with ending_the_session():
            result = judged(bench.run(self.scenario, fail=plan)) if plan else bench.run(self.scenario)
            self._session.record(result)
        return result

    def _leave_out_if(self, left_out: ScenarioResult | None) -> None:
        if left_out is not None:
            self._session.record(left_out)
            pytest.skip(left_out.message)

    def _report(self, result: ScenarioResult) -> None:
        if result.notes:
            text = "\n".join(line for note in result.notes for line in lines_of(note))
            self._node.add_report_section("call", "notes and print()", text)
        if result.dbgprint:
            text = "\n".join(printable(record.text) for record in result.dbgprint)
            self._node.add_report_section("call", "dbgprint", text)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test that needs what the guest lacks; no guest boots for it once its image was probed."""
    needs = {str(name) for mark in item.iter_markers("winvm_needs") for name in mark.args}
    if needs:
        from harness.project.profile import CAPABILITIES
        from harness.run.skip import reason

        session = Session.of(item.config)
        profile = session.profile(item.path)
        if unknown := sorted(needs - CAPABILITIES):
            pytest.fail(f"winvm_needs: {unknown[0]!r} is not a capability of any guest", pytrace=False)
        never_probed = profile is session.plan().profile
        if never_probed and session.uses_guest and not reason(profile, needs):
            profile = session.bench().guest.profile
        if why := reason(profile, needs):
            pytest.skip(why)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item per scenario, in the plan's order: scenarios that expect a crash run last."""
    if "winvm_scenario" not in metafunc.fixturenames:
        return
    session = Session.of(metafunc.config)
    try:
        scenarios = session.chosen(metafunc.definition.path)
    except Exception as error:  # noqa: BLE001 - shown as one paragraph, whatever it is
        session.unusable = as_winvm_error(error)
        metafunc.parametrize("winvm_scenario", [])
        return
    for mark in sorted({mark for scenario in scenarios for mark in scenario.marks}):
        metafunc.config.addinivalue_line("markers", f"{mark}: winvm scenarios of this kind")
    parameters = []
    for scenario in scenarios:
        marks = [getattr(pytest.mark, mark) for mark in scenario.marks]
        parameters.append(pytest.param(scenario, id=scenario.name, marks=marks))
    metafunc.parametrize("winvm_scenario", parameters, indirect=True)


def _scenario_of(item: pytest.Item) -> Scenario | None:
    callspec = getattr(item, "callspec", None)
    found: Scenario | None = callspec.params.get("winvm_scenario") if callspec else None
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `winvm run` a report's heading is the scenario's name, which can be passed to it again."""
    if not Session.of(config).by_command:
        return
    for item in items:
        if scenario := _scenario_of(item):
            vars(item)["location"] = (scenario.file, scenario.line - 1, scenario.name)


def without_own_log(text: str) -> str:
    """A section of captured log lines without those of the loggers `winvm.*`, and their further lines."""
    kept, own = [], False
    for line in text.splitlines():
        if found := LOG_LINE.match(line):
            own = found[1].startswith("winvm.")
        if not own:
            kept.append(line)
    return "\n".join(kept)


def headline(text: str) -> str:
    """The first sentence of `result_lines`, with the lines that it was wrapped to."""
    first, *rest = text.split("\n")
    wrapped = itertools.takewhile(lambda line: line.startswith("    "), rest)
    return " ".join([first, *(line.strip() for line in wrapped)])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leaves winvm's own log lines, which debug.log has, and all but the first line of a summary out."""
    report = yield
    if needs_guest(item):
        logged = [(title, without_own_log(text)) for title, text in report.sections if title.startswith(LOG)]
        others = [section for section in report.sections if not section[0].startswith(LOG)]
        report.sections = [*others, *(section for section in logged if section[1])]
        crash = getattr(report.longrepr, "reprcrash", None)
        raised = call.excinfo.value if call.excinfo else None
        if crash and _scenario_of(item) and isinstance(raised, pytest.fail.Exception):
            crash.message = headline(str(raised))
    return report


@pytest.fixture
def winvm_scenario(request: pytest.FixtureRequest) -> Iterator[ScenarioRun]:
    """The scenario of this item: `winvm_scenario.check()` runs it and fails the test unless it passed."""
    yield ScenarioRun(request.param, Session.of(request.config), request.node)


@pytest.fixture(scope="session")
def winvm_bench(request: pytest.FixtureRequest) -> Bench:
    """The running bench of this session: machine, transports, artifacts."""
    return Session.of(request.config).bench()
