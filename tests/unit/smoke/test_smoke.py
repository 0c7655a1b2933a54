"""Decisions of the smoke loop: chosen scenarios, use of a warm guest, what a save is, the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.handover import Handover
from harness.errors import ConfigurationError
from harness.guests.wine.spec import MachineSpec
from harness.host.resources import vm_folder
from harness.machine.accelerator import Accelerator
from harness.machine.protocol import MachineState
from harness.machine.savedstate import ReadyState
from harness.outcome import Outcome, Scenario
from harness.project.profiles import load_profile
from harness.run.live import project_key
from harness.smoke.selection import select
from harness.smoke.verdict import SmokeVerdict
from harness.smoke.warm import WarmGuest, find, unfit
from harness.smoke.watch import Sources

SCENARIOS = (
    Scenario("ioctl.one", "ioctl", tags=("smoke",)),
    Scenario("ioctl.two", "ioctl"),
    Scenario("event.one", "event", tags=("smoke", "slow")),
)
STANDBY = {"shell": "s", "command": "c"}
WARM = WarmGuest(
    project="p",
    agent="a1",
    handover=Handover(standby=STANDBY, nonce="n", debug_read=0, next_id=1, deployed={}, checkpoint=None),
)
SPEC = MachineSpec(
    Path("/images/wine-1"), load_profile(vm_folder() / "profiles" / "wine.toml"), Accelerator.TCG, "quiet"
)
READY = ReadyState(Path("/images/wine-1/ready-1"), "1", STANDBY)


@pytest.mark.parametrize(
    ("keyword", "marker", "names"),
    [
        (None, None, ["ioctl.one", "event.one"]),
        ("ONE", None, ["ioctl.one", "event.one"]),
        (None, "ioctl", ["ioctl.one", "ioctl.two"]),
        ("two or slow", None, ["ioctl.two", "event.one"]),
        ("one", "not slow", ["ioctl.one"]),
    ],
)
def test_expressions_choose(keyword: str | None, marker: str | None, names: list[str]) -> None:
    assert [scenario.name for scenario in select(SCENARIOS, keyword, marker)] == names


@pytest.mark.parametrize("expression", ["nothing_like_it", "one and", "("])
def test_an_expression_that_chooses_nothing_or_is_wrong_is_named(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="-k"):
        select(SCENARIOS, expression, None)


def test_a_suspended_guest_of_the_same_make_serves() -> None:
    assert unfit(WARM, MachineState.PAUSED, SPEC, SPEC, READY, "a1") == ""


@pytest.mark.parametrize(
    ("state", "spec", "ready", "agent", "why"),
    [
        (MachineState.RUNNING, SPEC, READY, "a1", "not suspended"),
        (MachineState.CRASHED, SPEC, READY, "a1", "not suspended"),
        (MachineState.PAUSED, replace(SPEC, image=Path("/images/wine-2")), READY, "a1", "image"),
        (MachineState.PAUSED, replace(SPEC, accelerator=Accelerator.KVM), READY, "a1", "accelerator"),
        (MachineState.PAUSED, SPEC, None, "a1", "saved state"),
        (MachineState.PAUSED, SPEC, replace(READY, facts={"shell": "other"}), "a1", "saved state"),
        (MachineState.PAUSED, SPEC, READY, "a2", "scenarios have changed"),
    ],
)
def test_what_makes_a_warm_guest_useless(
    state: MachineState, spec: MachineSpec, ready: ReadyState | None, agent: str, why: str
) -> None:
    assert why in unfit(WARM, state, SPEC, spec, ready, agent)


def test_a_record_survives_the_disk_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    WARM.save(tmp_path)
    assert WarmGuest.load(tmp_path) == WARM
    (tmp_path / "warm.json").write_text("{}")
    assert WarmGuest.load(tmp_path) is None


def test_a_guest_whose_qemu_is_gone_is_not_found(tmp_path: Path) -> None:
    folder = tmp_path / "1121-030000-aaaaaa"
    folder.mkdir()
    (folder / "kept").touch()
    WARM.save(folder)
    assert find(tmp_path, "p") is None


def test_projects_and_profiles_have_guests_of_their_own(tmp_path: Path) -> None:
    keys = {project_key(tmp_path, "wine"), project_key(tmp_path / "b", "wine"), project_key(tmp_path, "w11")}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("counts", "line", "code"),
    [
        ({Outcome.PASSED: 22}, "smoke: 22 passed in 2.1 s (driver 0a1b2c, warm)", 0),
        (
            {Outcome.PASSED: 1, Outcome.FAILED: 1, Outcome.SKIPPED: 3},
            "smoke: 1 failed, 1 passed, 3 skipped in 2.1 s (driver 0a1b2c, warm)",
            1,
        ),
        ({Outcome.FAILED: 1, Outcome.LOST: 1}, "smoke: 1 lost, 1 failed in 2.1 s (driver 0a1b2c, warm)", 3),
        ({Outcome.LOST: 1, Outcome.CRASHED: 1}, "smoke: 1 crashed, 1 lost in 2.1 s (driver 0a1b2c, warm)", 4),
        ({Outcome.HUNG: 1}, "smoke: 1 hung in 2.1 s (driver 0a1b2c, warm)", 4),
    ],
)
def test_the_verdict_is_one_line_and_a_code(counts: dict[Outcome, int], line: str, code: int) -> None:
    verdict = SmokeVerdict(counts, 2.06, {"release": "0a1b2c3d"}, warm=True)
    assert (verdict.line, verdict.exit_code) == (line, code)


def test_a_save_is_a_change_of_content_of_a_source(tmp_path: Path) -> None:
    source, other, built = tmp_path / "a.c", tmp_path / "a.o", tmp_path / "build" / "b.c"
    built.parent.mkdir()
    source.write_text("one")
    sources = Sources([tmp_path])
    source.write_text("one")  # touched
    other.write_text("x")
    built.write_text("x")
    (tmp_path / ".a.c.swp").write_text("x")
    assert sources.changed() == []
    source.write_text("two")
    assert sources.changed() == [source]
    replacement = tmp_path / "a.c.tmp"  # as some editors save
    replacement.write_text("three")
    replacement.replace(source)
    assert sources.changed() == [source]
    source.unlink()
    assert sources.changed() == [source]
    assert sources.changed() == []
