"""What a guest lacks skips scenarios, tests and cells by name, with everything that locates the scenario."""

from __future__ import annotations

from harness.outcome import Outcome, Scenario
from harness.project.profiles import find_profile
from harness.run.skip import missing, reason, skipped

WINE = find_profile("wine")


def test_a_skipped_result_says_where_its_scenario_is() -> None:
    scenario = Scenario("m.one", "m", needs=("user-mdl-mapping",), build="fault", file="s/mdl.py", line=12)
    found = skipped(WINE, scenario)
    assert found
    assert (found.name, found.kind, found.outcome) == ("m.one", "m", Outcome.SKIPPED)
    assert found.message == "guest lacks user-mdl-mapping"
    assert (found.build, found.file, found.line) == ("fault", "s/mdl.py", 12)


def test_every_missing_capability_is_named_in_order() -> None:
    assert missing(WINE, ("wow64", "irql")) == ("irql", "wow64")
    assert reason(WINE, ("wow64", "irql")) == "guest lacks irql, wow64"


def test_a_scenario_that_the_guest_can_run_is_not_skipped() -> None:
    assert skipped(WINE, Scenario("m.two", "m")) is None
    assert reason(WINE, ()) == ""
