"""A driver that goes down as it is loaded or unloaded: both are told alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bundle.write import LOADED, UNLOADED
from harness.outcome import CrashRecord, KernelCrash, Outcome, Scenario
from harness.run.lifecycle import driver_result


@pytest.mark.parametrize(
    ("doing", "scenario", "name"), [(LOADED, "s.one", "s.one"), (UNLOADED, "", "driver.unload")]
)
@pytest.mark.parametrize(
    ("kind", "outcome", "notes"), [("hang", Outcome.HUNG, ("held",)), ("bugcheck", Outcome.CRASHED, ())]
)
def test_loading_and_unloading_are_told_alike(
    tmp_path: Path, doing: str, scenario: str, name: str, kind: str, outcome: Outcome, notes: tuple[str, ...]
) -> None:
    report = KernelCrash(kind, 0xCE, (0, 0, 0, 0), 0.0, text="It was seen.")
    crash = CrashRecord(report, doing, tmp_path, "ce-drv.sys", notes=("held",), cause="drv.sys, Leaves.")
    result = driver_result(crash, doing, "checked", Scenario(scenario, "ioctl") if scenario else None)
    assert (result.name, result.outcome, result.notes) == (name, outcome, notes)
    assert result.detail == "drv.sys, Leaves.\nIt was seen."
    assert (result.build, result.crash) == ("checked", crash)
    routine = {LOADED: "DriverEntry", UNLOADED: "DriverUnload"}[doing]
    said = f"{routine} did not return: It was seen." if kind == "hang" else f"while it was {doing}: bugcheck"
    assert said in result.message
