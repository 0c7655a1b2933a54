"""What a guest lacks skips scenarios, tests and cells by name, with everything that locates the scenario."""

from __future__ import annotations

from harness.host.resources import vm_folder
from harness.outcome import Outcome, Scenario
from harness.project.measured import Measured, limited
from harness.project.profiles import find_profile
from harness.run.skip import missing, reason, skipped

FOUND = Measured.model_validate_json((vm_folder() / "measured" / "wine.json").read_bytes())
WINE = limited(find_profile("wine"), FOUND)


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


def test_what_nobody_tried_on_the_image_is_not_called_missing() -> None:
    untried = limited(find_profile("wine"), None)
    assert reason(untried, ("irql", "wow64")) == "untried on this guest's image: irql, wow64"
    assert reason(untried, ("irql", "inf-package")) == "guest lacks inf-package"
    found = skipped(untried, Scenario("m.three", "m", needs=("irql",)))
    assert found and found.outcome is Outcome.SKIPPED
