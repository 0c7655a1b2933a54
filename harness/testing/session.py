"""winvm's state of one pytest session: plan, artifacts, running bench, results; and the session's end.

Nothing boots until the first test that is not skipped; an infrastructure error ends the session with winvm's
exit code.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.display.terminal import paragraph
from harness.errors import WinvmError
from harness.host import interrupts
from harness.project import config as configuration
from harness.testing.coverage import RunCoverage
from harness.testing.ending import Ended, ending_the_session, instead_of_the_place, leave
from harness.testing.junit import add_subresults, attach, write_junit
from harness.testing.need import needs_guest
from harness.testing.partial import is_partial
from harness.testing.session_plan import SessionPlan
from harness.testing.summary import Tally, summary

if TYPE_CHECKING:
    from harness.agent.session import Debugging
    from harness.display.progress import Progress
    from harness.outcome import RunResult, Scenario, ScenarioResult
    from harness.project.profile import Profile
    from harness.report.reports import Reports
    from harness.run.artifacts import Artifacts
    from harness.run.bench import Bench
    from harness.run.hold import Hold
    from harness.run.plan import Plan


class Session:
    """winvm's state of one pytest session; each part is created when a test first needs it.

    Attributes:
        recorded: results so far; of these, `not_passed` neither passed nor were skipped.
        tally: what they say beyond their outcomes.
    """

    NAME = "winvm-session"

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._what = SessionPlan(config)
        self._artifacts: Artifacts | None = None
        self._progress: Progress | None = None
        self._bench: Bench | None = None
        self._known: Profile | None = None
        self._started = time.time()
        self._planned = 0
        self._broke_off = ""
        self._ended: WinvmError | None = None
        self._origin: dict[str, str] = {}
        self._pytest: pytest.Session | None = None
        self.recorded = 0
        self.not_passed = 0
        self.tally = Tally()
        self.unusable: WinvmError | None = None
        self.run: RunResult | None = None
        self.reports: Reports | None = None
        self.coverage = RunCoverage(config.getoption)

    @classmethod
    def of(cls, config: pytest.Config) -> Session:
        """The session's state."""
        found = config.pluginmanager.get_plugin(cls.NAME)
        assert isinstance(found, cls)
        return found

    def plan(self, test: Path | None = None) -> Plan:
        """See `SessionPlan.of`."""
        return self._what.of(test)

    def chosen(self, test: Path) -> tuple[Scenario, ...]:
        """See `SessionPlan.chosen`."""
        return self._what.chosen(test)

    @property
    def by_command(self) -> bool:
        """See `SessionPlan.by_command`."""
        return self._what.by_command

    def spelled(self, option: str) -> str:
        """See `SessionPlan.spelled`."""
        return self._what.spelled(option)

    def pytest_report_collectionfinish(self) -> list[str]:
        """Says what `--winvm-last-failed` chose."""
        return [self._what.choice] if self._what.choice else []

    @property
    def source_folders(self) -> tuple[Path, ...]:
        """Folders to which paths in the driver's debug information are relative."""
        config = self.plan().config
        return config.root, config.driver_folder

    def bench(self) -> Bench:
        """The running bench; ends the pytest session if it cannot be brought up."""
        if self._bench is None:
            assert self._artifacts
            with ending_the_session(), self.unmuted():
                from harness.run.pipeline import open_bench
                from harness.run.probing import ensure_probed

                self._bench = open_bench(self.plan(), self._artifacts, self._hold(), ensure_probed)
                self._bench.debugging = self._debugging()
        return self._bench

    def profile(self, test: Path | None = None) -> Profile:
        """The guest's profile without what its image lacks, as far as that is known; boots nothing.

        Args:
            test: see `plan`.
        """
        if self._bench is not None:
            return self._bench.guest.profile
        if self._known is None:
            from harness.run.known import of_present_image

            self._known = of_present_image(self.plan(test).profile)
        return self._known

    def _hold(self) -> Hold | None:
        """What `--winvm-hold` asks for."""
        if not self._config.getoption("--winvm-hold"):
            return None
        from harness.run.hold import ENDED, Hold, ask_terminal

        def ask(lines: list[str]) -> None:
            if self._pytest is not None:
                self._pytest.shouldstop = ENDED
            with self.unmuted():
                ask_terminal(lines)

        return Hold(ask)

    @property
    def post_mortem(self) -> bool:
        """Whether `--pdb` asks for a debugger where a scenario raises."""
        return bool(self._config.getoption("usepdb", False))

    def _debugging(self) -> Debugging | None:
        from harness.testing.debugging import debugging

        assert self._artifacts
        progress = self._progress

        @contextmanager
        def quiet() -> Iterator[None]:
            with self.unmuted(), progress.held() if progress else nullcontext():
                yield

        return debugging(self._config, quiet, self._artifacts.journal.warn)

    def option(self, name: str) -> Any:
        """The value of one of pytest's options."""
        return self._config.getoption(name)

    def record(self, result: ScenarioResult) -> None:
        """Adds a result to the run."""
        from harness.outcome import GOOD

        assert self._artifacts
        self._artifacts.add(result)
        self.recorded += 1
        self.not_passed += result.outcome not in GOOD
        self.tally.add(result)

    @property
    def uses_guest(self) -> bool:
        """Whether a test of this session needs the guest."""
        return self._artifacts is not None

    def unmuted(self) -> AbstractContextManager[object]:
        """Suspends pytest's capture of output."""
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            return nullcontext()
        lifted: AbstractContextManager[object] = capture.global_and_fixture_disabled()
        return lifted

    @contextmanager
    def _below_the_dots(self) -> Iterator[None]:
        """As `unmuted`, on a line of its own: pytest prints a character for each result on one line."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        with self.unmuted():
            if reporter is not None and reporter._tw.width_of_current_line:
                reporter._tw.line()
                reporter._tw.flush()
            yield

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Makes the artifacts folder once it is known that a guest will be used.

        Errors found while items were made are reported here: pytest catches an exit during collection.
        """
        self._pytest = session
        if self.unusable:
            leave(self.unusable)
        guests = [item for item in session.items if needs_guest(item)]
        if not guests or session.config.option.collectonly:
            return
        from harness.display.progress import Progress
        from harness.run.artifacts import Artifacts
        from harness.run.origin import DRIVER, origin

        interrupts.install()  # only in sessions with a guest: others' signals are pytest's
        with ending_the_session():
            self.plan(guests[0].path)
            self._what.require_one_project(item.path for item in guests)
            self.coverage.require_revision(self.plan().config.root)
            self._artifacts = Artifacts(self.plan().config.artifacts_folder)
            config = self.plan().config
            self._origin = {DRIVER: config.driver.name, **origin(config.root)}
        self._progress = Progress(unmuted=self._below_the_dots)
        self._artifacts.journal.listen(self._progress)
        self._planned = len(guests)
        if not session.config.option.xmlpath:
            write_junit(session.config, self._artifacts.junit)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Keeps the reason why the session ends early; pytest calls this for its own exits, too."""
        if isinstance(excinfo.value, Ended):
            self._ended = excinfo.value.error
            self._broke_off = paragraph(self._ended)
        elif excinfo.type is KeyboardInterrupt and (signal := interrupts.came()):
            self._broke_off = "Interrupted." if signal == interrupts.CTRL_C else f"Interrupted by {signal}."
            if not self._config.option.fulltrace:
                instead_of_the_place(self._config, f"winvm: {signal} ended the run.")
        else:
            self._broke_off = str(getattr(excinfo.value, "msg", "") or "Interrupted.").strip()

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Ends the guest and writes results.json, whatever happened before; pytest's own reports come after.

        A full disk can make either fail, so their errors end the session here, too.
        """
        try:
            try:
                with ending_the_session():
                    self._finish(session)
            finally:
                with ending_the_session():
                    yield
                    self._add_subresults()
                if self._ended and self.by_command:
                    instead_of_the_place(self._config, "")  # winvm's paragraph says why
        except Ended as ended:
            self._ended = ended.error
            raise

    def _add_subresults(self) -> None:
        path = self._config.option.xmlpath
        if path and Path(path).is_file():
            if self.tally.subresults:
                add_subresults(Path(path), self.tally.subresults)
            if self.tally.screenshots:
                attach(Path(path), self.tally.screenshots)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Prints the error that ended the session, behind all that pytest prints."""
        if self._ended:
            sys.stdout.flush()
            print(paragraph(self._ended), file=sys.stderr)

    def _finish(self, session: pytest.Session) -> None:
        if self._artifacts is None:
            return
        from harness.outcome import GOOD
        from harness.report.history import cell
        from harness.run.ending import finish
        from harness.run.origin import NIGHT
        from harness.run.prune import tidy

        try:
            if self._bench:
                for unloaded in finish(self._bench, self._artifacts, unload=not self._broke_off):
                    self.tally.add(unloaded)
                    session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)
                if not set(self._artifacts.counts) - GOOD:
                    folder = self.plan().config.artifacts_folder
                    tidy(configuration.home(), folder, self._artifacts.journal)
        finally:
            profile = self._bench.guest.profile if self._bench else self.plan().profile
            self.run = self._artifacts.finish(
                profile.name,
                self._started,
                tuple(sorted(profile.missing_capabilities | profile.untried_capabilities)),
                {**self._origin, **(self._bench.guest.environment if self._bench else {})},
                cell=cell(profile.name, self._config.getoption("--winvm-build"), self._what.labels),
                planned=self._planned,
                broke_off=self._broke_off,
                source="night" if NIGHT in self._origin else "run",
                partial=is_partial(session),
            )
            root = self.plan().config.root
            try:
                if self._bench and not self.coverage.write(self._bench, self._artifacts.path, root):
                    session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)
            finally:
                self._report(self._artifacts)
                if self._progress:
                    self._progress.close()

    def _report(self, artifacts: Artifacts) -> None:
        """Writes history and reports from the results; a failure here does not fail the run."""
        from harness.report.historyfile import history_folder
        from harness.report.reports import attempt, make_reports

        config, warn = self.plan().config, artifacts.journal.warn
        folder = history_folder(config.artifacts_folder, self.run.source if self.run else "run")
        self.reports = attempt(
            "Every report", lambda: make_reports(artifacts.path, config.root, folder, warn), warn
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints where the results are and which capabilities this guest lacks."""
        if (plan := self._what.made) and plan.left_out:
            builds = ", ".join(f"{count} of {build}" for build, count in plan.left_out.items())
            terminalreporter.line(f"winvm: scenarios that {self.spelled('build')} leaves out: {builds}")
        if self.run is None or self._artifacts is None:
            return
        terminalreporter.section("winvm")
        for line in summary(self.run, self.tally, names=self.by_command):
            terminalreporter.line(line)
        for line in self.coverage.summary():
            terminalreporter.line(line)
        if self.reports and self.reports.since and (changed := self.reports.since.news.headline):
            terminalreporter.line(f"since the previous run: {changed}")
        terminalreporter.line(f"artifacts: {self._artifacts.path}")
