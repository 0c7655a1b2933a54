"""Every scenario that winvm.toml names, one item each."""

from __future__ import annotations

from harness.testing.plugin import ScenarioRun


def test_scenario(winvm_scenario: ScenarioRun) -> None:
    """Passes if the scenario does."""
    winvm_scenario.check()
