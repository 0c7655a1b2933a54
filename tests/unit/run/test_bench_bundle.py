"""Every crash of a run gets a bundle that names what crashed the guest; equal crashes are one group."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from harness.bundle.read import unpack
from harness.errors import DriverLoadError
from harness.outcome import Outcome
from harness.testing.summary import grouped
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeGuest, FakeLink
from tests.unit.run.test_bench import Setup, connected, crash, scenario


def test_a_scenarios_crash_leaves_a_bundle_that_names_it(tmp_path: Path) -> None:
    setup = Setup(tmp_path, crash("bugcheck", 0xE2, 1, 2, 3, 4))
    bench = connected(setup)
    bench.run(scenario("s.before"))
    result = bench.run(scenario("s.down", build="fault", deadline_s=4.0), {"x": 1})
    assert result.crash
    assert result.crash.bundle == "crashes/crash-e2-drv.sys.tar.zst"
    assert json.loads((result.crash.folder / "crash.json").read_text())["bundle"] == result.crash.bundle
    bundle = unpack(setup.artifacts.path / result.crash.bundle, tmp_path / "out")
    manifest, trigger = bundle.manifest, bundle.manifest.trigger
    assert (manifest.signature, manifest.driver.build, manifest.guest) == ("e2-drv.sys", "fault", "wine")
    assert (trigger.kind, trigger.name, trigger.deadline_s, trigger.before) == (
        "scenario",
        "s.down",
        4.0,
        ["s.before"],
    )
    assert trigger.parameters == {"x": 1}
    command = next(command for command in bench_commands(setup) if command.get("scenario") == "s.down")
    assert trigger.seed == command["seed"] == int(setup.bench.guest.environment["seed"])
    assert bundle.driver.read_bytes() == b"fault.sys"
    with (
        zstandard.open(setup.artifacts.path / result.crash.bundle) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        found = ((one.name, archive.extractfile(one)) for one in archive)
        members = {name: content.read() for name, content in found if content}
    assert members["crash/crash.json"] == (result.crash.folder / "crash.json").read_bytes()


def bench_commands(setup: Setup) -> list[dict[str, Any]]:
    guest = setup.guest
    assert isinstance(guest, FakeGuest)
    return guest.links[-1].scripted.commands


def test_what_ran_before_a_restore_does_not_count(tmp_path: Path) -> None:
    setup = Setup(tmp_path, crash("bugcheck", 0xE2, 1, 2, 3, 4))
    bench = connected(setup)
    bench.run(scenario("s.down"))
    second = bench.run(scenario("s.down")).crash
    assert second
    assert second.bundle == "crashes/crash-e2-drv.sys-2.tar.zst"
    assert unpack(setup.artifacts.path / second.bundle, tmp_path / "out").manifest.trigger.before == []
    assert second.folder.name == "02-s.down"


def test_a_crash_in_driver_entry_is_replayed_by_loading(tmp_path: Path) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def down(command: dict[str, Any]) -> None:
            agent.debug.break_down("bugcheck", 0x7E, 1, 2, 3, 4)

        agent.when("load", down)

    setup = Setup(tmp_path, script)
    with pytest.raises(DriverLoadError):
        setup.bench.connect("release")
    (file,) = (setup.artifacts.path / "crashes").glob("*.tar.zst")
    manifest = unpack(file, tmp_path / "out").manifest
    assert (manifest.trigger.kind, manifest.driver.build) == ("load", "release")


def test_a_bundle_that_cannot_be_written_costs_only_itself(tmp_path: Path) -> None:
    setup = Setup(tmp_path, crash("bugcheck", 0xE2, 1, 2, 3, 4))
    bench = connected(setup)
    (tmp_path / "agent.pyz").unlink()
    result = bench.run(scenario("s.down"))
    assert result.outcome is Outcome.CRASHED
    assert result.crash
    assert result.crash.bundle == ""
    assert "crash-e2-drv.sys.tar.zst is missing" in result.crash.notes[-1]
    kept = json.loads((result.crash.folder / "crash.json").read_text())
    assert (kept["bundle"], kept["notes"]) == ("", list(result.crash.notes))


def test_equal_crashes_of_a_run_are_one_group(tmp_path: Path) -> None:
    setup = Setup(tmp_path, crash("bugcheck", 0xE2, 1, 2, 3, 4))
    bench = connected(setup)
    for _ in range(2):
        setup.artifacts.add(bench.run(scenario("s.down")))
    setup.artifacts.add(bench.run(scenario("s.fine")))
    run = setup.artifacts.finish("wine", 0.0)
    assert json.loads(run.results.read_text())["signatures"] == {"e2-drv.sys": {"s.down": 2}}


def test_the_summary_names_the_scenarios_of_each_group() -> None:
    one = {"e2-drv.sys": {"s.down": 2, "s.other": 1}}
    assert list(grouped(one)) == ["  e2-drv.sys: s.down x2, s.other"]
    many = {f"{number}-drv.sys": {"s.down": 1} for number in range(25)}
    assert list(grouped(many))[-1] == "  5 more are in results.json"
