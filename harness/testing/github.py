"""A pytest session as a step of GitHub Actions: guest output is never a command; failures are annotated."""

from __future__ import annotations

import pytest

from harness.report import github
from harness.report.reports import attempt
from harness.testing.session import Session


class GithubStep:
    """Pytest hooks around a session that uses a guest."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._silence: github.Silence | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Switches the runner's commands off before the guest prints anything."""
        if self._session.uses_guest:
            self._silence = github.Silence()
            with self._session.unmuted():
                print(f"\n{self._silence.begin}", flush=True)

    def pytest_unconfigure(self) -> None:
        """Switches them on after everything that pytest printed, and annotates what did not pass."""
        if self._silence is None:
            return
        print(f"\n{self._silence.end}", flush=True)
        if reports := self._session.reports:
            for line in github.error_commands(reports.findings):
                print(line, flush=True)
            text = github.summary(reports.digest, reports.findings, reports.since)
            attempt("GitHub's summary of the step", lambda: github.append_summary(text), print)
