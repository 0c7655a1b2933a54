"""Every scenario of guest/scenarios in a real guest, one item each."""

from __future__ import annotations

from harness.testing.plugin import ScenarioRun


def test_scenario(winvm_scenario: ScenarioRun) -> None:
    winvm_scenario.check()
