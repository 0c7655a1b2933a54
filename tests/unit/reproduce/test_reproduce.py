"""Replays of a bundle on fakes: what counts as reproduced, what a trial is, and what cannot be replayed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.bundle.manifest import Driver, Trigger, member_files, profile_document, write_bundle
from harness.bundle.payload import Payload
from harness.bundle.read import Bundle, unpack
from harness.cli import winvm
from harness.errors import ConfigurationError
from harness.images.inputs import gather
from harness.images.replayed import replay_image
from harness.journal import Journal
from harness.outcome import Outcome
from harness.project.config import Config
from harness.project.profiles import find_profile
from harness.reproduce.replays import (
    Attempt,
    Reproduction,
    Request,
    checked_profile,
    differences,
    replay,
    reproduce,
)
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.unit.reproduce.test_operations import control, entry, opening
from tests.unit.run.test_bench import Setup

SIGNATURE = "e2-drv.sys"
JOURNALLED = (
    opening(1),
    control(1, 1),
    opening(2),
    control(2, 5),
    control(1, 2),
    control(1, 9),
    control(1, 3),
)
NEEDED = [opening(1), control(1, 1), control(1, 2), control(1, 3)]


def bundle_in(folder: Path, **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "crash").mkdir()
    lines = [json.dumps(entry(operation, scenario="s.down")) for operation in JOURNALLED]
    (folder / "crash" / "journal.jsonl").write_text("\n".join(lines) + "\n")
    for name in ("agent.pyz", "drv.sys", "image.json"):
        (folder / name).write_bytes(name.encode())
    driver = Driver(service="drv", build="fault", contract="")
    described: dict[str, Any] = {
        "winvm": "0.1.0",
        "signature": SIGNATURE,
        "what": "bugcheck 0xe2",
        "trigger": Trigger(kind="scenario", name="s.down", seed=7, before=["s.earlier"]),
        "driver": driver,
        "guest": "wine",
        "profile": profile_document(find_profile("wine")),
        "image": "ab" * 32,
        "environment": {},
    }
    payload = Payload(folder / "agent.pyz", "drv", {"fault": folder / "drv.sys"}, "")
    files = member_files(payload, driver, folder / "image.json", folder / "crash")
    target = folder / f"crash-{SIGNATURE}.tar.zst"
    write_bundle(target, files, **{**described, **changed})
    return target


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return unpack(bundle_in(tmp_path / "made"), tmp_path / "unpacked")


def crashing(when: Callable[[dict[str, Any]], bool]) -> Callable[[FakeAgent, FakeLink], None]:
    """An agent whose driver goes down at the runs that `when` picks by their command."""

    def script(agent: FakeAgent, link: FakeLink) -> None:
        def run(command: dict[str, Any]) -> None:
            if when(command):
                agent.debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)
            else:
                agent.finish(command)

        agent.when("s.down", run)

    return script


def replayed(
    tmp_path: Path,
    bundle: Bundle,
    when: Callable[[dict[str, Any]], bool],
    **asked: Any,
) -> tuple[Reproduction, Setup]:
    setup = Setup(tmp_path, crashing(when))
    setup.bench.crashes.bundles = False
    found = Reproduction(bundle.file, bundle.manifest, setup.artifacts.path)
    request = Request(bundle.file, Config(root=tmp_path), **asked)
    replay(request, bundle, setup.bench, setup.artifacts, found)
    return found, setup


def test_each_replay_has_a_restored_guest_and_counts_if_the_signature_is_equal(
    tmp_path: Path, bundle: Bundle
) -> None:
    found, setup = replayed(tmp_path, bundle, lambda command: True, times=3)
    assert (found.reproduced, len(found.attempts)) == (3, 3)
    assert setup.machine.calls.count("revert") == 3
    command = setup.guest.links[-1].scripted.commands[-1]
    assert (command["scenario"], command["deadline_s"] <= 30) == ("s.down", True)
    assert not list((setup.artifacts.path / "crashes").glob("*.zst"))


def test_a_crash_that_does_not_recur_is_reported_and_not_minimised(tmp_path: Path, bundle: Bundle) -> None:
    found, _ = replayed(tmp_path, bundle, lambda command: False, times=2, minimise=True)
    assert [attempt.outcome for attempt in found.attempts] == [Outcome.PASSED] * 2
    assert (found.reproduced, found.minimal) == (0, [])
    assert "did not recur" in found.unminimised


def needs_all(command: dict[str, Any]) -> bool:
    """Crashes in the scenario, and in replays that have the needed operations in that order."""
    if "operations" not in command:
        return True
    left = iter([call for _, call in command["operations"]])
    return all(dict(operation.call) in left for operation in NEEDED)


def test_the_operations_are_cut_to_what_it_takes(tmp_path: Path, bundle: Bundle) -> None:
    found, setup = replayed(tmp_path, bundle, needs_all, times=2, minimise=True)
    assert found.minimal == NEEDED
    assert (found.recorded, found.recurred, found.left_out) == (7, 2, {})
    kept = json.loads((setup.artifacts.path / "minimal.json").read_text())
    assert [operation["call"] for operation in kept] == [operation.call for operation in NEEDED]


def test_operations_that_alone_do_not_crash_are_reported(tmp_path: Path, bundle: Bundle) -> None:
    found, _ = replayed(tmp_path, bundle, lambda command: "operations" not in command, times=1, minimise=True)
    assert found.minimal == []
    assert "do not reproduce this crash" in found.unminimised


def test_a_crash_that_comes_after_the_last_operation_is_waited_for(tmp_path: Path, bundle: Bundle) -> None:
    found, _ = replayed(
        tmp_path,
        bundle,
        lambda command: needs_all(command) and command.get("linger_s") != 0,
        times=1,
        minimise=True,
    )
    assert found.minimal == NEEDED


def test_a_guest_that_remembers_earlier_trials_does_not_decide(tmp_path: Path, bundle: Bundle) -> None:
    """The driver goes down in any guest that has seen the first operation, whichever trial it came in."""
    setup_of: list[Setup] = []
    seen: set[int] = set()

    def remembers(command: dict[str, Any]) -> bool:
        if "operations" not in command:
            return True
        link = len(setup_of[0].guest.links)
        calls = [call for _, call in command["operations"]]
        if JOURNALLED[1].call in calls:
            seen.add(link)
        return link in seen and JOURNALLED[-1].call in calls

    setup = Setup(tmp_path, crashing(remembers))
    setup_of.append(setup)
    found = Reproduction(bundle.file, bundle.manifest, setup.artifacts.path)
    request = Request(bundle.file, Config(root=tmp_path), times=1, minimise=True)
    replay(request, bundle, setup.bench, setup.artifacts, found)
    assert found.minimal == [opening(1), control(1, 1), control(1, 3)]
    assert found.recurred == 1


@pytest.mark.parametrize(("kind", "command"), [("load", "load"), ("unload", "unload")])
def test_a_crash_without_a_scenario_is_replayed_by_what_made_it(
    tmp_path: Path, kind: Any, command: str
) -> None:
    trigger = Trigger(kind=kind, name=f"{kind}ed")
    bundle = unpack(bundle_in(tmp_path / "made", trigger=trigger), tmp_path / "unpacked")

    def script(agent: FakeAgent, link: FakeLink) -> None:
        def down(_: dict[str, Any]) -> None:
            agent.debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)

        agent.when(command, down)

    setup = Setup(tmp_path, script)
    found = Reproduction(bundle.file, bundle.manifest, setup.artifacts.path)
    request = Request(bundle.file, Config(root=tmp_path), times=2, minimise=True)
    replay(request, bundle, setup.bench, setup.artifacts, found)
    assert found.reproduced == 2
    assert "no operations were journalled" in found.unminimised


def test_another_profile_or_image_is_named(tmp_path: Path) -> None:
    profile = profile_document(find_profile("wine"))
    changed = {**profile, "hardware": {**profile["hardware"], "memory_mib": 300}}
    bundle = unpack(bundle_in(tmp_path / "made", profile=changed), tmp_path / "unpacked")
    with pytest.raises(ConfigurationError, match=r"hardware: .*'memory_mib': 300.* --any-image"):
        checked_profile(bundle.manifest, any_image=False)
    assert checked_profile(bundle.manifest, any_image=True) == find_profile("wine")
    with pytest.raises(
        ConfigurationError, match=f"image {'ab' * 6}; this winvm makes {gather().digest[:12]}"
    ):
        replay_image("ab" * 32, tmp_path, Journal(), any_image=False)


def test_a_replay_lacks_what_the_image_was_found_to_lack(tmp_path: Path) -> None:
    """A crash's profile names that, the file of the profile does not; what is no capability is left out."""
    found = find_profile("wine").without("irql")
    made = bundle_in(tmp_path / "made", profile=profile_document(found))
    assert checked_profile(unpack(made, tmp_path / "one").manifest, any_image=False) == found
    odd = {**profile_document(found), "missing_capabilities": ["irql", "magic", ["irql"], 7]}
    made = bundle_in(tmp_path / "odd", profile=odd)
    assert checked_profile(unpack(made, tmp_path / "two").manifest, any_image=False) == found


def test_a_driver_that_was_verified_is_verified_again(tmp_path: Path) -> None:
    able = find_profile("windows-11")
    for watched in (True, False):
        profile = able if watched else able.without("driver-verifier")
        driver = Driver(service="drv", build="fault", contract="", verified=watched)
        file = bundle_in(
            tmp_path / f"made-{watched}", guest="windows-11", profile=profile_document(profile), driver=driver
        )
        manifest = unpack(file, tmp_path / f"unpacked-{watched}").manifest
        assert checked_profile(manifest, any_image=False) == profile


def test_a_crash_of_a_pytest_test_cannot_be_replayed(tmp_path: Path) -> None:
    file = bundle_in(tmp_path / "made", trigger=Trigger(kind="elsewhere", name="test_x"))
    with pytest.raises(ConfigurationError, match=r"test_x, in which .* is a pytest test"):
        reproduce(Request(file, Config(root=tmp_path)), lambda event: None, lambda opened: None)
    assert list((tmp_path / "artifacts" / "reproduce" / "latest").glob("results.json"))


def test_the_command_refuses_a_file_that_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "x.tar.zst").write_bytes(b"hello")
    (tmp_path / "winvm.toml").write_text("")
    done = CliRunner().invoke(
        winvm, ["--config", str(tmp_path / "winvm.toml"), "reproduce", str(tmp_path / "x.tar.zst")]
    )
    assert done.exception
    assert "cannot be decompressed" in str(done.exception)
    assert not (tmp_path / "artifacts" / "reproduce" / "latest" / "bundle").exists()


def test_what_is_executed_and_what_came_of_it_is_shown(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.commands.reproduce import show_bundle, show_result

    show_bundle(bundle, to_stderr=False)
    found = Reproduction(bundle.file, bundle.manifest, tmp_path)
    found.attempts = [
        Attempt(Outcome.CRASHED, "bugcheck 0xe2", SIGNATURE),
        Attempt(Outcome.CRASHED, "bugcheck \x1b[2J", "1-drv.sys"),
        Attempt(Outcome.PASSED, ""),
    ]
    found.minimal, found.recorded, found.recurred, found.trials = NEEDED, 7, 3, 12
    found.differences = differences({"accelerator": "kvm", "a": "1"}, {"accelerator": "tcg", "b": "2"})
    show_result(found)
    shown = capsys.readouterr().out
    assert f"SHA-256 {bundle.manifest.members['driver/fault/drv.sys'].sha256}" in shown
    assert "scenario s.down, seed 7" in shown
    assert "reproduced 1/3: e2-drv.sys" in shown
    assert "replay 2 crashed as 1-drv.sys: bugcheck \\x1b[2J" in shown
    assert "replay 3 passed" in shown
    assert "not as it was: accelerator: kvm there, tcg here\n" in shown
    assert "s.earlier last" in shown
    assert "minimised from 7 operations to 4 in 12 trials" in shown
    assert "input=00" in shown
