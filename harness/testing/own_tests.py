"""Results of a project's own tests: a run records the tests themselves beside the scenarios that they run.

A test that uses the guest has a result, named by its node id. A test of the same session that needs no guest
has one if it fails. A scenario's test has its own result only where the scenario's result does not cover it:
a mark skipped the test, or its assertions about the result failed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from harness.testing.ending import ending_the_session
from harness.testing.need import needs_guest
from harness.testing.session import Session

if TYPE_CHECKING:
    from harness.outcome import Outcome, ScenarioResult

KIND = "pytest"
"""Kind of these results, beside the kinds of scenarios."""
DETAIL_LIMIT = 64_000
MESSAGE_LIMIT = 4_000


@dataclasses.dataclass
class _Test:
    """One test while it runs. `reports` has set-up, call and tear-down, each with its exception."""

    recorded: int
    not_passed: int
    reports: list[tuple[pytest.TestReport, BaseException | None]] = dataclasses.field(default_factory=list)


class OwnTests:
    """pytest hooks that record each test's result."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._test: _Test | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Records the test once it has run from set-up to tear-down."""
        if not self._session.uses_guest:
            return (yield)
        self._test = _Test(self._session.recorded, self._session.not_passed)
        done = yield
        with ending_the_session():
            self._record(item, self._test)
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keeps the report of a phase."""
        report = yield
        if self._test:
            self._test.reports.append((report, call.excinfo.value if call.excinfo else None))
        return report

    def _record(self, item: pytest.Item, test: _Test) -> None:
        from harness.outcome import GOOD, Scenario

        if not test.reports:
            return
        result = _result(item, test)
        failed = result.outcome not in GOOD
        if not needs_guest(item):
            if failed:
                self._session.record(result)
            return
        callspec = getattr(item, "callspec", None)
        scenario = callspec.params.get("winvm_scenario") if callspec else None
        if not isinstance(scenario, Scenario):
            self._session.record(result)
        elif self._session.recorded == test.recorded:  # the scenario did not run
            self._session.record(
                dataclasses.replace(
                    result,
                    name=scenario.name,
                    kind=scenario.kind,
                    build=scenario.build,
                    file=scenario.file,
                    line=scenario.line,
                )
            )
        elif (
            failed and self._session.not_passed == test.not_passed
        ):  # the scenario passed, but its test did not
            self._session.record(result)


def _result(item: pytest.Item, test: _Test) -> ScenarioResult:
    from harness.outcome import Outcome, ScenarioResult

    outcome, shown = Outcome.PASSED, test.reports[0][0]
    for report, raised in test.reports:
        found = _outcome(report, raised)
        if found is not Outcome.PASSED and (outcome is Outcome.PASSED or report.failed):
            outcome, shown = found, report
            if report.failed:
                break
    message, detail = _said(shown) if outcome is not Outcome.PASSED else ("", "")
    path, line, _ = item.reportinfo()
    return ScenarioResult(
        name=item.nodeid,
        kind=KIND,
        outcome=outcome,
        message=message,
        detail=detail,
        started=test.reports[0][0].start,
        seconds=sum(report.duration for report, _ in test.reports),
        file=str(path),
        line=(line or 0) + 1,
    )


def _outcome(report: pytest.TestReport, raised: BaseException | None) -> Outcome:
    """A failed assertion is a failure; every other exception, and any in set-up, is an error."""
    from harness.outcome import Outcome

    if report.skipped:
        return Outcome.SKIPPED
    if report.passed:
        return Outcome.PASSED
    asserted = raised is None or isinstance(raised, AssertionError | pytest.fail.Exception)
    return Outcome.FAILED if report.when == "call" and asserted else Outcome.ERROR


def _said(report: pytest.TestReport) -> tuple[str, str]:
    """Message and detail of a test that did not pass."""
    if report.skipped:
        if hasattr(report, "wasxfail"):
            return f"expected to fail: {report.wasxfail}"[:MESSAGE_LIMIT], ""
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        return reason.removeprefix("Skipped: ")[:MESSAGE_LIMIT], ""
    crash = getattr(report.longrepr, "reprcrash", None)
    detail = report.longreprtext[-DETAIL_LIMIT:]
    return (crash.message if crash else detail)[:MESSAGE_LIMIT], detail
