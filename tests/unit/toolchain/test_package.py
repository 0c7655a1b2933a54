"""A driver that comes as an INF package: taken whole, copied in, installed and removed by pnputil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PureWindowsPath

import pytest

from harness.bundle.payload import Payload
from harness.deadline import Deadline
from harness.errors import BuildError, ConfigurationError, DriverLoadError, TransportError
from harness.guests.windows import pnputil
from harness.host.resources import vm_folder
from harness.interfaces import CommandResult
from harness.outcome import Outcome, Scenario
from harness.project import config
from harness.project.profiles import load_profile
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.guest_session import GuestSession
from harness.toolchain import package
from harness.toolchain.package import Package, take_package
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeGuest, FakeLink, FakePackageLink
from tests.fakes.machine import FakeMachine

Answer = Callable[[Sequence[str]], CommandResult]


@pytest.fixture
def release(tmp_path: Path) -> Package:
    folder = tmp_path / "x64" / "mine"
    (folder / "amd64").mkdir(parents=True)
    for name in ("mine.inf", "mine.cat", "mine.sys", "mine.cer", "amd64/coinstaller.dll"):
        (folder / name).write_bytes(name.encode())
    return take_package(folder / "mine.inf")


def published(name: str) -> Answer:
    return lambda argv: CommandResult(
        0, f"Published Name: {name}".encode() if "/add" in argv[1] else b"", b""
    )


def bench_with(
    tmp_path: Path, found: Package, answer: Answer, link_type: type[FakeLink] = FakePackageLink
) -> tuple[Bench, FakeGuest]:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        link.transport.answer(pnputil.CERTUTIL)
        link.transport.answers[pnputil.PNPUTIL] = answer

    guest, machine = FakeGuest(script, link_type), FakeMachine(tmp_path / "guest")
    machine.start(Deadline.after(5))
    drivers = {build: tmp_path / f"{build}.sys" for build in ("release", "debug")}
    for file in (*drivers.values(), tmp_path / "agent.pyz"):
        file.write_bytes(b"")
    packages = dict.fromkeys(drivers, found)
    payload = Payload(tmp_path / "agent.pyz", "mine", drivers, "", packages=packages)
    profile = load_profile(vm_folder() / "profiles" / "wine.toml")
    artifacts = Artifacts(tmp_path / "artifacts")
    session = GuestSession(guest, machine, profile, payload, artifacts, {"waits": "here"}, {})
    return Bench(session, artifacts, ExitStack()), guest


def test_the_whole_folder_is_copied_in_and_the_driver_started_as_it_was_installed(
    tmp_path: Path, release: Package
) -> None:
    bench, guest = bench_with(tmp_path, release, published("oem3.inf"))
    bench.connect("release")
    link = guest.links[-1]
    assert {
        path.removeprefix(r"c:\run\release\package" + "\\"): data
        for path, data in link.files.files.items()
        if path.startswith(r"c:\run\release\package")
    } == {
        name.replace("/", "\\"): name.encode()
        for name in ("mine.inf", "mine.cat", "mine.sys", "mine.cer", "amd64/coinstaller.dll")
    }
    inf = PureWindowsPath(r"C:\run\release\package\mine.inf")
    assert link.transport.commands[-1] == pnputil.add_command(inf)
    load = next(command for command in link.scripted.commands if command["cmd"] == "load")
    assert (load["service"], load["sys"]) == ("mine", None)
    bench.unload()
    assert link.transport.commands[-1] == pnputil.delete_command("oem3.inf")


def test_another_build_takes_the_place_of_the_first(tmp_path: Path, release: Package) -> None:
    bench, guest = bench_with(tmp_path, release, published("oem3.inf"))
    bench.connect("release")
    assert bench.run(Scenario("s.one", "s", build="debug")).outcome is Outcome.PASSED
    debug = PureWindowsPath(r"C:\run\debug\package\mine.inf")
    used = [words for words in guest.links[-1].transport.commands if words[0] == pnputil.PNPUTIL]
    assert used[1:] == [pnputil.delete_command("oem3.inf"), pnputil.add_command(debug)]


def test_a_package_that_windows_refuses_is_the_drivers_error(tmp_path: Path, release: Package) -> None:
    refused = CommandResult(2, b"The hash for the file is not present in the specified catalog file.", b"")
    bench, _ = bench_with(tmp_path, release, lambda argv: refused)
    with pytest.raises(DriverLoadError, match="exit code 2") as caught:
        bench.connect("release")
    assert "hash for the file" in caught.value.detail


def test_a_guest_that_installs_no_packages_is_named(tmp_path: Path, release: Package) -> None:
    bench, _ = bench_with(tmp_path, release, published("oem3.inf"), FakeLink)
    with pytest.raises(DriverLoadError, match="mine comes as an INF package, and this guest installs none"):
        bench.connect("release")


def test_a_driver_that_goes_down_while_it_is_installed_is_a_crash(tmp_path: Path, release: Package) -> None:
    def dying(argv: Sequence[str]) -> CommandResult:
        guest.debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)
        raise TransportError("The connection to the guest was reset.")

    bench, guest = bench_with(tmp_path, release, dying)
    with pytest.raises(DriverLoadError, match="crashed while it was loaded"):
        bench.connect("release")


@pytest.mark.parametrize("name", ["none.inf", "mine.sys"])
def test_what_is_no_inf_is_refused(release: Package, name: str) -> None:
    with pytest.raises(BuildError, match=rf"no driver package .*{name}"):
        take_package(release.inf.with_name(name))


def test_a_folder_that_holds_more_than_a_package_is_refused(
    release: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "FILES_LIMIT", 4)
    with pytest.raises(BuildError, match="holds 5 files of 0 MiB"):
        take_package(release.inf)


def test_an_inf_goes_with_a_prebuilt_driver_and_may_name_the_build(tmp_path: Path) -> None:
    file = tmp_path / "winvm.toml"
    file.write_text('[driver]\ninf = "x64/{build}/mine.inf"\n')
    with pytest.raises(ConfigurationError, match=r"driver: .*prebuilt must name the \.sys"):
        config.load(file)
    file.write_text('[driver]\ninf = "x64/{build}/mine.inf"\nprebuilt = "x64/{build}/mine.sys"\n')
    assert config.load(file).package("Debug") == tmp_path / "x64" / "Debug" / "mine.inf"
