"""What a pytest session runs, and where: its options, the winvm.toml found for them, and the plan of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import ConfigurationError
from harness.project import config as configuration
from harness.testing.coverage import RunCoverage
from harness.testing.options import PREFIX

if TYPE_CHECKING:
    from harness.outcome import Scenario
    from harness.run.plan import Plan

SUITE = str(Path(__file__).parents[1] / "suite")
"""What `winvm run` passes to pytest."""


class SessionPlan:
    """The plan of one pytest session; made when it is first needed.

    Attributes:
        made: the plan; None before.
        choice: the line that says what `--winvm-last-failed` chose; empty without it.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found_by_test: Path | None = None
        self.made: Plan | None = None
        self.choice = ""

    def of(self, test: Path | None = None) -> Plan:
        """The plan of what to run where; collected once.

        Args:
            test: a test file; its project's winvm.toml is used if pytest was started above the project.

        Raises:
            WinvmError: the configuration or the scenarios are invalid.
        """
        if self.made is None:
            from harness.run.plan import make_plan

            path, option = self._config_file(test), self._config.getoption
            config = configuration.load(path).with_changes(
                option("--winvm-artifacts"),
                option("--winvm-libvirt-uri"),
                coverage=RunCoverage(option).wanted,
                guard=option("--winvm-guard"),
            )
            guest, builds, parameters = map(option, ("--winvm-guest", "--winvm-build", "--winvm-param"))
            self.made = make_plan(
                config,
                guest,
                builds,
                parameters,
                verifier=option("--winvm-verifier"),
                option=self.spelled("param"),
            )
            if folder := option("--winvm-corpus"):
                from harness.fuzz.corpus import scenarios

                self.made = replace(self.made, scenarios=scenarios(Path(folder)), elsewhere={})
        return self.made

    def chosen(self, test: Path) -> tuple[Scenario, ...]:
        """The scenarios of the plan that this session runs; raises as `of`."""
        from harness.testing.chosen import chosen, failed_before

        plan, option = self.of(test), self._config.getoption
        found = chosen(plan, option("--winvm-scenario"))
        if option("--winvm-last-failed"):
            found, self.choice = failed_before(found, plan, option("--winvm-build"), self.labels)
        return found

    @property
    def by_command(self) -> bool:
        """Whether `winvm run` started this session, so that scenarios need no test module's name."""
        return SUITE in self._config.invocation_params.args

    def spelled(self, option: str) -> str:
        """An option as the user typed it: `winvm run` and the short forms have no prefix."""
        typed = self._config.invocation_params.args
        long = PREFIX + option
        return long if not self.by_command and any(word.startswith(long) for word in typed) else f"--{option}"

    @property
    def labels(self) -> list[str]:
        """The labels by which the run is compared, beside its guest and builds."""
        from harness.testing.chosen import labels

        return labels(self.of(), self._config.getoption("--winvm-label"))

    def require_one_project(self, tests: Iterable[Path]) -> None:
        """Raises `ConfigurationError` if winvm.toml was found by one test and another has a different one."""
        if self._found_by_test is None:
            return
        for folder in {test.parent for test in tests}:
            other = configuration.nearest(folder)
            if other != self._found_by_test:
                first = self._found_by_test.parent
                raise ConfigurationError(
                    f"Tests of two projects were collected: {folder} is not part of {first}.",
                    remedy=f"Run pytest once in each project, or name one file by {PREFIX}config.",
                )

    def _config_file(self, test: Path | None) -> Path:
        if named := self._config.getoption("--winvm-config"):
            return Path(named)
        started = self._config.invocation_params.dir
        if found := configuration.nearest(started):
            return found
        self._found_by_test = configuration.nearest(test.parent) if test else None
        return self._found_by_test or configuration.find(started, PREFIX + "config")
