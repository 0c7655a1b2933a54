"""One registration adds a flavour of guest: the toy flavour supports every operation of the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.bundle.payload import Payload
from harness.cli import Invocation
from harness.commands.image import image
from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.guests.flavour import BuildOption
from harness.guests.registry import (
    build_options,
    find_flavour,
    flavour_of,
    flavours,
    reopen,
    replayed_flavour,
)
from harness.journal import Journal
from harness.machine.accelerator import Accelerator
from harness.machine.record import MachineRecord
from harness.outcome import Outcome, Scenario
from harness.plugins import FLAVOURS, Registry
from harness.project import config
from harness.project.profiles import find_profile, load_profile
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.guest_session import GuestSession
from harness.run.live import LiveGuest
from harness.run.plan import make_plan
from harness.run.prune import inventory, old, remove
from tests.fakes.machine import FakeMachine
from tests.fakes.toy_flavour import PROFILE, ToyFlavour, ToyGuest, ToyProfile, ToySpec, registered

SCENARIO = '''
from agent import Context, scenario


@scenario
def one(t: Context) -> None:
    """Anything."""
'''
WINVM_TOML = '[scenarios]\nfolders = ["scenarios"]\n[guest]\nprofile = "toy"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a profile of the toy, which is plugged in, and an empty WINVM_HOME."""
    folder = tmp_path / "project"
    for name, text in (
        ("winvm.toml", WINVM_TOML),
        ("profiles/toy.toml", PROFILE),
        ("scenarios/s.py", SCENARIO),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "bricks").write_bytes(b"bricks")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WINVM_HOME", str(tmp_path / "home"))
    with registered():
        yield folder


def invoked(*arguments: str) -> str:
    result = CliRunner().invoke(image, arguments, obj=Invocation(None), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_its_image_is_built_listed_found_and_pruned(project: Path) -> None:
    home = config.home()
    assert "--bricks PATH" in invoked("build", "--help")
    built = json.loads(invoked("build", "toy", "--bricks", str(project / "bricks"), "--json"))
    assert built == {"folder": str(home / "images" / "toy-1"), "digest": "toy1", "bricks": "12"}
    assert json.loads(invoked("list", "--json")) == {"folder": built["folder"], "bytes": 6, "bricks": "12"}
    profile = find_profile("toy", project)
    found = find_flavour(profile, Accelerator.TCG, home, Journal())
    assert (found.image.folder, found.exports) == (Path(built["folder"]), None)
    again = replayed_flavour(profile, "toy1", Accelerator.TCG, home, Journal(), any_image=False)
    assert (again.image, again.spec) == (found.image, found.spec)
    with pytest.raises(ConfigurationError, match="Toy 2 is not here"):
        replayed_flavour(profile, "2", Accelerator.TCG, home, Journal(), any_image=False)
    older = home / "images" / "toy-0"
    older.mkdir()
    (older / "base.qcow2").write_bytes(b"old")
    (home / "images" / ".toy-half").mkdir()
    items = inventory(home, None)
    assert {(item.path.name, item.kind, item.kept) for item in items} == {
        ("toy-1", "image", "the present image"),
        ("toy-0", "image", ""),
        (".toy-half", "unfinished image", ""),
    }
    remove(old(items, 0, None, time.time() + 1), home)
    assert [path.name for path in (home / "images").glob("*toy*")] == ["toy-1"]


def test_a_plan_and_a_bench_run_with_it(project: Path, tmp_path: Path) -> None:
    plan = make_plan(config.load(project / "winvm.toml"), None)
    assert isinstance(plan.profile, ToyProfile)
    assert [scenario.name for scenario in plan.scenarios] == ["s.one"]
    guest = reopen("toy", tmp_path, project)
    assert isinstance(guest, ToyGuest)
    machine = FakeMachine(tmp_path / "guest")
    machine.start(Deadline.after(5))
    driver = tmp_path / "mine.sys"
    driver.write_bytes(b"driver")
    facts = guest.wait_ready(machine, Deadline.after(5))
    payload = Payload(plan.agent, "mine", {"release": driver}, "")
    artifacts = Artifacts(tmp_path / "artifacts")
    session = GuestSession(guest, machine, plan.profile, payload, artifacts, facts, {})
    bench = Bench(session, artifacts, ExitStack())
    bench.connect("release")
    guest.links[-1].scripted.when(
        "s.one",
        lambda command: guest.links[-1].scripted.say(
            "finished", id=command["id"], scenario=command["scenario"], outcome="passed"
        ),
    )
    assert bench.run(Scenario("s.one", "s", deadline_s=5.0)).outcome is Outcome.PASSED
    guest.links[-1].scripted.when("s.one", lambda command: falls(guest))
    crashed = bench.run(Scenario("s.one", "s", deadline_s=5.0))
    assert (crashed.outcome, crashed.detail) == (Outcome.SKIPPED, "The driver let a brick fall.")
    assert crashed.message.startswith("Not shown on this guest: a toy has only bricks. Its evidence is in ")
    found = json.loads(next(artifacts.path.rglob("analysis.json")).read_text())
    assert (found["what"], found["dbgprint_tail"]) == ("fall of a brick", ["mine: begins"])
    bench.load("release")
    session.loaded = ""
    guest.links[-1].scripted.when("load", lambda command: refuses(guest))
    refused = bench.run(Scenario("s.one", "s", deadline_s=5.0))
    assert refused.outcome is Outcome.ERROR
    assert "DriverEntry returned STATUS_UNSUCCESSFUL (0xc0000001). It printed last:" in refused.message
    bench.close()


def refuses(guest: ToyGuest) -> None:
    """The toy's log says what DriverEntry returned; the service control manager's code says less."""
    guest.debug.say("mine: no brick here")
    guest.debug.say("no brick", "toy")
    guest.links[-1].scripted.say("loaded", ok=False, error_code=31, message="no")


def falls(guest: ToyGuest) -> None:
    """The toy's driver prints, its log says something of its own, and it goes down."""
    guest.debug.say("mine: begins")
    guest.debug.say("clatter", "toy")
    guest.debug.break_down("exception", 0xC0000005, 0xC0000005, 0x10)


def test_a_guest_of_it_that_is_up_is_reached_by_other_commands(project: Path, tmp_path: Path) -> None:
    guest = LiveGuest(
        folder=tmp_path, profile="toy", image=tmp_path, address="127.0.0.1", ports={}, machine=tmp_path,
        project="p", build="release", driver="d", root=project,
    )  # fmt: skip
    assert LiveGuest.model_validate_json(guest.model_dump_json()) == guest
    assert guest.debug_output() == guest.channels.console
    assert guest.debug_lines().parse("hello", 1.0).text == "hello"
    assert guest.kernel_line().port == 3
    profile = guest.loaded_profile()
    assert not flavour_of(profile).debugged_here(profile)


def test_a_machine_of_it_is_taken_over_with_the_type_of_its_hardware(project: Path) -> None:
    profile = find_profile("toy", project)
    assert isinstance(profile, ToyProfile)
    spec = ToySpec(project, profile, Accelerator.TCG, "quiet")
    record = MachineRecord(spec=spec, ready=None, ports={"ssh": 1}, generation=2)
    assert MachineRecord.model_validate_json(record.model_dump_json()) == record


def test_a_wrong_profile_of_it_is_reported_by_its_own_rules(project: Path) -> None:
    file = project / "profiles" / "toy.toml"
    file.write_text(PROFILE.replace("volume = 3", "volume = 12"))
    with pytest.raises(ConfigurationError, match=r"toy\.toml: volume"):
        find_profile("toy", project)


def test_without_its_package_its_profiles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(PROFILE)
    with pytest.raises(ConfigurationError, match="no guest flavour 'toy'") as caught:
        load_profile(tmp_path / "toy.toml")
    assert "winvm.flavours" in caught.value.remedy


def test_options_of_two_flavours_that_differ_are_refused() -> None:
    class Other(ToyFlavour):
        build_options = (BuildOption("iso", "PATH", "Another ISO."),)

    with FLAVOURS.added("other", Other()), pytest.raises(ConfigurationError, match="--iso"):
        build_options()
    assert len(flavours()) == 3


def test_an_installed_package_brings_plug_ins_and_a_broken_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "toys-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[test.toys]\ngood = toys_package:TOY\nbad = no_such_module:TOY\n")
    (tmp_path / "toys_package.py").write_text("TOY = 'a toy'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry("test.toys", "toy", {"own": "json:dumps"})
    assert registry.names() == ("own", "bad", "good")
    assert (registry.find("good"), registry.find("own")) == ("a toy", json.dumps)
    with pytest.raises(
        ConfigurationError, match=r"'bad' of toys cannot be loaded from no_such_module"
    ) as caught:
        registry.find("bad")
    assert caught.value.remedy == "Reinstall or remove toys."


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs winvm where a package is installed whose flavour `broken` raises when it is imported."""
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-guest\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[winvm.flavours]\nbroken = broken_guest:FLAVOUR\n")
    (tmp_path / "broken_guest.py").write_text("import sys; sys.exit('needs another Python')\n")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.toml").write_text('guest = "broken"\n')
    (tmp_path / "winvm.toml").write_text("")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "WINVM_HOME": str(tmp_path / "home")}

    def winvm(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "harness", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return winvm


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (("image", "list"), 0, ""),
        (("prune", "--dry-run"), 0, "Would remove"),
        (("image", "build", "windows-11"), 2, "windows-11 is installed from an ISO, and none is named."),
        (("image", "build", "windows-11", "--bricks", "x"), 2, "No such option"),
        (("image", "build", "mine"), 2, "profiles/mine.toml: guest: The guest flavour 'broken'"),
    ],
)
def test_a_flavour_that_cannot_be_loaded_costs_only_itself(
    broken: Callable[..., tuple[int, str]], command: tuple[str, ...], code: int, says: str
) -> None:
    done = broken(*command)
    assert done[0] == code, done
    assert says in done[1]
    assert (
        "The guest flavour 'broken' of broken-guest cannot be loaded from broken_guest:FLAVOUR: needs "
        "another Python. Reinstall or remove broken-guest."
    ) in done[1]
    assert "internal error" not in done[1]


def test_doctor_names_a_flavour_that_cannot_be_loaded(broken: Callable[..., tuple[int, str]]) -> None:
    code, said = broken("doctor")
    assert code in (0, 3), said  # as this host is
    assert "The guest flavour 'broken' of broken-guest cannot be loaded" in said
    assert "Python" in said


def test_an_option_of_another_flavour_is_named(project: Path) -> None:
    for profile in ("wine", "windows-11"):
        options = ["build", profile, "--bricks", str(project / "bricks")]
        result = CliRunner().invoke(image, options, obj=Invocation(None))
        assert isinstance(result.exception, ConfigurationError)
        assert f"The image {profile} has no use for --bricks" in result.exception.message


def test_no_flavour_is_imported_for_the_help() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from harness.cli import winvm;"
        "CliRunner().invoke(winvm, ['--help']); CliRunner().invoke(winvm, ['dump', '--help']);"
        "print([m for m in sys.modules if m.startswith('harness.guests') or m == 'harness.plugins'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
