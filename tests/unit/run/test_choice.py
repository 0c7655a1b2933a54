"""The words that name scenarios on a command line, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.outcome import Scenario
from harness.run.choice import named

SCENARIOS = tuple(
    Scenario(name, name.partition(".")[0], file=f"/p/scenarios/{name.partition('.')[0]}.py")
    for name in ("basics.text", "basics.size[1]", "basics.size[64]", "other.text")
)
BUILT = tuple(Scenario(f"basics.text@{build}", "basics", build=build) for build in ("release", "checked"))
NODE_ID = "tests/test_driver.py::test_scenario[basics.size[64]]"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["basics.text"], ["basics.text"]),
        (["basics.size"], ["basics.size[1]", "basics.size[64]"]),
        (["other", "basics.size[64]"], ["basics.size[64]", "other.text"]),
        (["*.text"], ["basics.text", "other.text"]),
        (["basics.size[?]"], ["basics.size[1]"]),
        ([NODE_ID], ["basics.size[64]"]),
        (["/p/scenarios/other.py"], ["other.text"]),
    ],
)
def test_words_name_scenarios_in_the_order_of_the_plan(words: list[str], names: list[str]) -> None:
    assert [one.name for one in named(SCENARIOS, words)] == names


def test_a_file_is_named_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = Scenario("one.a", "one", file=str(tmp_path / "scenarios" / "one.py"))
    assert named((*SCENARIOS, here), ["scenarios/one.py"]) == (here,)


def test_a_build_narrows_a_name() -> None:
    assert named(BUILT, ["basics.text"]) == BUILT
    assert named(BUILT, ["basics.text@checked"]) == BUILT[1:]
    assert named(BUILT, ["basics@release"]) == BUILT[:1]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("basics.txet", "Did you mean basics.text"),
        ("basiks", "Did you mean basics"),
        ("BASICS.SIZE", "Did you mean basics.size"),
    ],
)
def test_a_misspelt_name_is_told_what_was_meant(word: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"There is no scenario '{word}'") as told:
        named(SCENARIOS, ["basics.text", word])
    assert meant in str(told.value)
    assert told.value.exit_code == 2


def test_a_name_like_no_other_leads_to_the_list() -> None:
    with pytest.raises(ConfigurationError, match=r"'xyzzy'\. `winvm list`"):
        named(SCENARIOS, ["xyzzy"])


def test_a_scenario_of_another_build_says_so() -> None:
    with pytest.raises(ConfigurationError, match="against the build checked only") as told:
        named(SCENARIOS, ["basics.crash"], {"basics.crash": "checked"})
    assert "--build checked" in told.value.remedy
