"""Known differences of a guest: what is foretold is shown as such, and excuses nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.outcome import GOOD, CrashRecord, KernelCrash, Outcome, ScenarioResult, exit_code
from harness.project.profile import Difference
from harness.project.profiles import load_profile
from harness.run.differences import applied

FAILS = Difference(scenario="m.one", reason="it has no such thing", evidence="0.4.16, seen in two runs")
CRASHES = Difference(
    scenario="m.two[a]", reason="its own fault", evidence="a dump", ends="crashed", code=0x7F
)
KNOWN = (FAILS, CRASHES)


def crash(code: int) -> CrashRecord:
    return CrashRecord(KernelCrash("bugcheck", code, (0, 0, 0, 0), 1.0), "m.two[a]", Path("none"), "s")


@pytest.mark.parametrize("name", ["m.one", "m.one@release", "m.one[x]", "m.one[x]@fault"])
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.ERROR])
def test_a_foretold_failure_is_shown_with_its_reason_and_evidence(name: str, outcome: Outcome) -> None:
    found = applied(KNOWN, ScenarioResult(name, "m", outcome, "1 != 2", "line 7", notes=("a note",)))
    assert found.outcome is Outcome.DIFFERS
    assert found.message == "differs here: it has no such thing"
    assert found.detail == f"{outcome}: 1 != 2\nline 7"
    assert found.notes == ("a note", "known difference of this guest; evidence: 0.4.16, seen in two runs")
    assert found.outcome in GOOD
    assert exit_code({Outcome.DIFFERS: 1}) == 0


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.HUNG, Outcome.LOST])
def test_a_known_failure_excuses_nothing_worse(outcome: Outcome) -> None:
    found = applied(KNOWN, ScenarioResult("m.one", "m", outcome, "gone"))
    assert (found.outcome, found.message) == (outcome, "gone")
    assert "says that this scenario fails here, which it did not" in found.notes[0]


def test_a_difference_that_is_not_there_any_more_is_noted() -> None:
    found = applied(KNOWN, ScenarioResult("m.one", "m", Outcome.PASSED))
    assert found.outcome is Outcome.PASSED
    assert "it has no such thing" in found.notes[0]


def test_a_crash_needs_the_foretold_code() -> None:
    same = applied(KNOWN, ScenarioResult("m.two[a]", "m", Outcome.CRASHED, crash=crash(0x7F)))
    assert same.outcome is Outcome.DIFFERS and same.crash
    other = applied(KNOWN, ScenarioResult("m.two[a]", "m", Outcome.CRASHED, crash=crash(0x50)))
    assert other.outcome is Outcome.CRASHED
    assert "crashes with 0x7f here" in other.notes[0]


@pytest.mark.parametrize("name", ["m.two", "m.two[b]", "m.ones", "m.onemore[x]", "n.one"])
def test_others_are_left_alone(name: str) -> None:
    result = ScenarioResult(name, "m", Outcome.FAILED, "1 != 2")
    assert applied(KNOWN, result) is result


def test_what_was_skipped_did_not_run() -> None:
    result = ScenarioResult("m.one", "m", Outcome.SKIPPED, "guest lacks irql")
    assert applied(KNOWN, result) is result


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('scenario = "a.b"\nreason = "r"', "evidence"),
        ('scenario = "a.b"\nreason = "r"\nevidence = "e"\nends = "crashed"', "code belongs to"),
        ('scenario = "a.b"\nreason = "r"\nevidence = "e"\ncode = 3', "code belongs to"),
        ('scenario = "a.b"\nreason = "r"\nevidence = "e"\nends = "lost"', "ends"),
    ],
)
def test_an_entry_that_says_too_little_is_refused(tmp_path: Path, entry: str, says: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'extends = "wine"\n\n[[differs]]\n{entry}\n')
    with pytest.raises(ConfigurationError, match=says):
        load_profile(file)


def test_a_profile_names_them(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('extends = "wine"\n\n[[differs]]\nscenario = "a.b"\nreason = "r"\nevidence = "e"\n')
    assert load_profile(file).differs == (Difference(scenario="a.b", reason="r", evidence="e"),)
