"""The Windows guest with everything but Windows: a kernel on a real serial socket, a bench, a dump."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.bundle.payload import Payload
from harness.crash.dump_source import DumpSource, GuestMinidump, KernelDump
from harness.deadline import Deadline
from harness.debuggers.kd.key import Key
from harness.errors import ConfigurationError, ImageError
from harness.guests.protocol import Reachable
from harness.guests.registry import find_flavour, reopen, replayed_flavour
from harness.guests.windows.debug_stream import MuteDebugStream, WindowsDebugStream
from harness.guests.windows.guest import (
    MEMORY_DUMP,
    SET_CLOCK,
    WindowsGuest,
    session_version,
    system_time,
)
from harness.guests.windows.image.credentials import make_windows_secrets
from harness.guests.windows.image.sealed import WindowsImage, seal, settings_digest
from harness.guests.windows.spec.domain import NVRAM, WindowsSpec
from harness.guests.windows.spec.profile import KDNET_PORT, WindowsProfile
from harness.interfaces import DebugStream
from harness.journal import Journal
from harness.machine.accelerator import Accelerator
from harness.machine.protocol import Machine
from harness.outcome import CrashExpectation, KernelCrash, Outcome, Scenario
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.guest_session import GuestSession
from harness.run.live import LiveGuest
from tests.fakes import dump_writer
from tests.fakes.agent import FakeAgent
from tests.fakes.debug import FakeDebugStream
from tests.fakes.files import FakeFileTransfer
from tests.fakes.guest import FakeLink
from tests.fakes.kd_machine import exception, printed
from tests.fakes.kd_port import KernelMachine
from tests.fakes.machine import FakeMachine
from tests.fakes.profiles import windows_profile

NONCE = "n0nce"
SOON = 10.0
BREAKPOINT = 0x80000003


def until(what: Callable[[], object]) -> None:
    deadline = Deadline.after(SOON)
    while not what():
        deadline.check("what the test waits for")
        time.sleep(0.005)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_windows_secrets(tmp_path_factory.mktemp("image") / "secrets").folder


def image_in(home: Path, secrets: Path, profile: WindowsProfile, runs_out: str = "") -> WindowsImage:
    """A sealed image without a Windows in it."""
    draft = home / "draft"
    draft.mkdir(parents=True)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", str(draft / "base.qcow2"), "1M"]
    subprocess.run(create, check=True)
    (draft / NVRAM).write_bytes(b"variables")
    (draft / "secrets").symlink_to(secrets)
    manifest = {
        "digest": "ab" * 32,
        "versions": {"windows": "10.0.26100"},
        "profile": profile.name,
        "settings": settings_digest(profile),
        "edition": "EnterpriseEval",
        "firmware": "uefi",
        "runs_out": runs_out,
    }
    (home / "images").mkdir()
    return seal(draft, home / "images" / f"{profile.name}-abababababab", manifest)


def profile_with(**hardware: object) -> WindowsProfile:
    profile = windows_profile("windows-11")
    return profile.model_copy(update={"hardware": profile.hardware.model_copy(update=hardware)})


@pytest.fixture
def guest(tmp_path: Path, secrets: Path) -> WindowsGuest:
    profile = profile_with(kd="serial")
    return WindowsGuest(image_in(tmp_path, secrets, profile), profile)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[KernelMachine]:
    made = KernelMachine(tmp_path / "guest")
    made.start(Deadline.after(SOON))
    yield made
    made.destroy()


def meet(stream: DebugStream, machine: KernelMachine) -> None:
    """Waits until the debugger has halted the restored kernel and let it go on."""
    known = len(machine.kernel.asked)
    until(lambda: any("break-in" in record.text for record in stream.records()))
    until(lambda: len(machine.kernel.asked) > known)


def bugcheck(machine: KernelMachine, code: int, parameters: tuple[int, ...]) -> None:
    """The kernel prints the bugcheck message, and halts for its debugger."""
    kernel = machine.kernel
    kernel.bugchecked(code, *parameters)
    values = ",".join(f"0x{value:016x}" for value in parameters)
    kernel.rcx.append(3)
    kernel.script.extend(
        [printed(f"\n*** Fatal System Error: 0x{code:08x}\n ({values})\n\n"), exception(BREAKPOINT)]
    )


def mark(edge: str, number: int) -> str:
    return f"WINVM-MARK {NONCE} {edge} {number} a.scenario\n"


def print_scenario(machine: KernelMachine, number: int, text: str) -> None:
    machine.kernel.script.extend(map(printed, [mark("begin", number), text, mark("end", number)]))


def test_a_restored_kernel_is_halted_once_and_heard_before_and_after_a_revert(
    guest: WindowsGuest, machine: KernelMachine, tmp_path: Path
) -> None:
    stream = guest.debug_stream(machine, tmp_path / "dbgprint.log", NONCE)
    until(lambda: machine.kernel.breaks)
    print_scenario(machine, 1, "first\n")
    assert stream.wait_for_end_marker(1, Deadline.after(SOON))
    machine.revert(Deadline.after(SOON))
    stream.rearm()
    until(lambda: machine.kernel.breaks)
    assert len(machine.kernels) == 2
    print_scenario(machine, 2, "second\n")
    assert stream.wait_for_end_marker(2, Deadline.after(SOON))
    assert [[record.text for record in stream.slice(number)] for number in (1, 2)] == [["first"], ["second"]]
    assert stream.crash() is None, "a break-in is no crash"
    stream.close()


def test_debugger_and_panic_device_tell_of_one_crash(
    guest: WindowsGuest, machine: KernelMachine, tmp_path: Path
) -> None:
    stream = guest.debug_stream(machine, tmp_path / "dbgprint.log", NONCE)
    meet(stream, machine)
    bugcheck(machine, 0xE2, (1, 2, 3, 4))
    until(stream.crash)
    told = stream.crash()
    machine.panic(0xE2, (1, 2, 3, 4))
    assert stream.crash() is told
    assert told is not None
    assert (told.code, told.parameters) == (0xE2, (1, 2, 3, 4))
    assert any(record.source == "qemu" for record in stream.records()), "that it told is in the log"
    stream.rearm()
    machine.panic(0xD1, (5, 6, 7, 8))
    alone = stream.crash()
    assert alone is not None
    assert (alone.kind, alone.code, alone.parameters) == ("bugcheck", 0xD1, (5, 6, 7, 8))
    assert "panic device" in alone.text
    stream.close()


def test_a_panic_without_a_code_is_a_record_and_no_crash(guest: WindowsGuest, tmp_path: Path) -> None:
    mute = dataclasses.replace(guest, profile=profile_with(kd="none"))
    machine = FakeMachine(tmp_path / "other")
    machine.start(Deadline.after(SOON))
    stream = mute.debug_stream(machine, tmp_path / "dbgprint.log", NONCE)
    assert isinstance(stream, MuteDebugStream)
    machine.panic()
    assert stream.crash() is None
    assert [record.source for record in stream.records()] == ["qemu"]
    stream.close()


def test_kdnet_guests_run_side_by_side_each_with_the_images_key(
    guest: WindowsGuest, machine: KernelMachine, tmp_path: Path
) -> None:
    assert Key.read(guest.image.secrets.kd_key).text
    kdnet = dataclasses.replace(guest, profile=profile_with(kd="kdnet"))
    stream = kdnet.debug_stream(machine, tmp_path / "dbgprint.log", NONCE)
    assert isinstance(stream, WindowsDebugStream)
    another = kdnet.debug_stream(machine, tmp_path / "another.log", NONCE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", KDNET_PORT))  # no port of the host is used
    another.close()
    stream.close()


def test_the_links_use_the_images_secrets(guest: WindowsGuest, machine: KernelMachine) -> None:
    link = guest.link(machine)
    assert link.transport.endpoint.certificate == guest.image.secrets.certificate
    assert link.transport.endpoint.port == machine.ports["winrm"]
    assert (link.files.endpoint.user, link.files.endpoint.port) == ("winvm", machine.ports["ssh"])
    link.close()


def test_the_clock_is_set_by_one_valid_program() -> None:
    assert system_time(1795240932.063) == "2026,11,6,21,6,2,12,63"
    compile(SET_CLOCK % system_time(0.0), "set clock", "exec")


@pytest.mark.parametrize(
    ("kind", "hardware", "restarts"),
    [
        ("bugcheck", {}, True),
        ("bugcheck", {"on_bugcheck": "stop"}, False),
        ("hang", {}, None),
    ],
)
def test_the_dump_of_a_crash(
    guest: WindowsGuest, kind: str, hardware: dict[str, object], restarts: bool | None
) -> None:
    crash = KernelCrash(kind, 0xE2, (1, 2, 3, 4), time=0.0)
    changed = dataclasses.replace(guest, profile=profile_with(**hardware))
    source = changed.dump(crash, FakeDebugStream())
    if restarts is None:
        assert isinstance(source, GuestMinidump)
        assert source.absent
    else:
        assert isinstance(source, KernelDump)
        assert source.guest_path == (MEMORY_DUMP if restarts else "")


def test_windows_that_waits_for_its_debugger_is_not_waited_for(
    guest: WindowsGuest, machine: KernelMachine, tmp_path: Path
) -> None:
    source = guest.dump(KernelCrash("bugcheck", 0xE2, (), time=0.0), FakeDebugStream())
    assert isinstance(source, KernelDump)
    held = dataclasses.replace(source, waits=lambda: True)
    found = held.collect(tmp_path, machine, FakeFileTransfer(), Deadline.after(SOON))
    assert not found.file
    assert any("waits for its debugger" in note for note in found.notes)


def test_a_guest_that_is_up_prints_to_its_debugger(tmp_path: Path) -> None:
    record = {"folder": tmp_path, "image": tmp_path, "address": "127.0.0.1", "ports": {}, "machine": tmp_path}
    record |= {"project": "p", "build": "release", "driver": "d"}
    assert LiveGuest.model_validate(record | {"profile": "wine"}).debug_output().name == "dbgprint.log"
    with pytest.raises(ConfigurationError, match="goes to its kernel debugger") as caught:
        LiveGuest.model_validate(record | {"profile": "windows-11"}).debug_output()
    assert "winvm debug" in caught.value.remedy


def test_a_verified_guest_has_a_ready_state_of_its_own(tmp_path: Path, secrets: Path) -> None:
    profile = windows_profile("windows-11")
    image_in(tmp_path, secrets, profile)
    plain, watched = (
        find_flavour(profile, Accelerator.TCG, tmp_path, Journal(), verified) for verified in ("", "drv.sys")
    )
    assert plain.spec.ready_key({}) != watched.spec.ready_key({})
    assert isinstance(watched.guest, WindowsGuest)
    assert watched.guest.verified == "drv.sys"


def test_a_missing_image_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image of windows-11") as caught:
        find_flavour(windows_profile("windows-11"), Accelerator.TCG, tmp_path, Journal())
    assert caught.value.remedy == "Build it: winvm image build windows-11 --iso PATH"
    assert caught.value.exit_code == 3


def test_an_image_of_other_settings_is_refused(tmp_path: Path, secrets: Path) -> None:
    image_in(tmp_path, secrets, windows_profile("windows-11"))
    with pytest.raises(ImageError, match=r"before vm/profiles/windows-11\.toml was changed"):
        find_flavour(profile_with(disk_gib=128), Accelerator.TCG, tmp_path, Journal())


def test_a_state_under_other_checks_of_driver_verifier_is_another(tmp_path: Path, secrets: Path) -> None:
    profile = windows_profile("windows-11")
    image_in(tmp_path, secrets, profile)
    low = profile.model_copy(update={"verifier": ("low-resources",)})

    def session(of: WindowsProfile, verified: str) -> str:
        return find_flavour(of, Accelerator.TCG, tmp_path, Journal(), verified).spec.session

    assert session(low, "") == session(profile, "")
    assert session(low, "drv.sys") != session(profile, "drv.sys") == session_version("drv.sys")


def test_memory_processors_and_devices_need_no_other_image(tmp_path: Path, secrets: Path) -> None:
    image_in(tmp_path, secrets, windows_profile("windows-11"))
    changed = profile_with(memory_mib=8192, vcpus=4, hyperv=False, devices=("edu",))
    assert find_flavour(changed, Accelerator.TCG, tmp_path, Journal()).spec.profile == changed


@pytest.mark.parametrize(("days", "warned"), [(-1, True), (5, False), (None, False)])
def test_an_evaluation_that_is_over_is_reported_with_every_run(
    tmp_path: Path, secrets: Path, days: int | None, warned: bool
) -> None:
    profile = windows_profile("windows-11")
    end = "" if days is None else (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    image = image_in(tmp_path, secrets, profile, end)
    journal, told = Journal(), list[str]()
    journal.listen(lambda event: told.append(str(event.get("text", ""))))
    find_flavour(profile, Accelerator.TCG, tmp_path, journal)
    replayed_flavour(profile, image.digest, Accelerator.TCG, tmp_path, journal, any_image=False)
    assert [(end in text, f"Remove {image.folder}" in text) for text in told] == [(True, True)] * 2 * warned


def test_an_image_makes_its_machine_and_guest(tmp_path: Path, secrets: Path) -> None:
    profile = windows_profile("windows-11")
    image = image_in(tmp_path, secrets, profile)
    flavour = find_flavour(profile, Accelerator.TCG, tmp_path, Journal())
    assert isinstance(flavour.guest, WindowsGuest)
    assert isinstance(flavour.spec, WindowsSpec)
    assert flavour.spec.session == session_version()
    assert (flavour.image, flavour.exports) == (image, None)
    assert reopen("windows-11", image.folder) == flavour.guest


class Linked:
    """A `WindowsGuest` whose connections lead to a scripted agent, and to a dump once it went down."""

    def __init__(self, guest: WindowsGuest, machine: KernelMachine, dump: bytes) -> None:
        self._guest, self._machine, self._dump = guest, machine, dump
        self.run_folder, self.journal_port = guest.run_folder, guest.journal_port
        self.image_manifest = guest.image_manifest
        self.agents: list[FakeAgent] = []

    def link(self, host: Reachable) -> FakeLink:
        agent = FakeAgent(Voice(self._machine))
        agent.when("s.down", self._down)
        self.agents.append(agent)
        return FakeLink(agent)

    def debug_stream(self, machine: Machine, log: Path, nonce: str, skip: int = 0) -> DebugStream:
        Voice.nonce = nonce
        return self._guest.debug_stream(machine, log, nonce, skip)

    def dump(self, crash: KernelCrash, debug: DebugStream) -> DumpSource:
        source = self._guest.dump(crash, debug)
        assert isinstance(source, KernelDump)
        files = FakeFileTransfer()
        files.put(MEMORY_DUMP, self._dump)
        return dataclasses.replace(source, connect=lambda machine: files)

    def _down(self, command: Mapping[str, Any]) -> None:
        """The driver bugchecks: the kernel prints the message, halts, and reports to the panic device."""
        Voice(self._machine).mark("begin", command["id"])
        Voice(self._machine).say("drv: last words")
        bugcheck(self._machine, 0xD1, dump_writer.PARAMETERS)
        self._machine.panic(0xD1, dump_writer.PARAMETERS)


class Voice(FakeDebugStream):
    """Prints through the kernel, as the agent does; `nonce` is the run's."""

    nonce = ""

    def __init__(self, machine: KernelMachine) -> None:
        super().__init__(Voice.nonce)
        self._machine = machine

    def say(self, text: str, source: str = "dbgprint") -> None:
        self._machine.kernel.script.append(printed(f"{text}\n"))

    def mark(self, edge: str, scenario_id: int) -> None:
        self.say(f"WINVM-MARK {self.nonce} {edge} {scenario_id} a.scenario")


def test_a_run_hears_the_kernel_sees_it_crash_keeps_its_dump_and_goes_on(
    guest: WindowsGuest, machine: KernelMachine, tmp_path: Path
) -> None:
    drivers = {"release": tmp_path / "release" / "drv.sys"}
    drivers["release"].parent.mkdir()
    drivers["release"].write_bytes(b"driver")
    (tmp_path / "agent.pyz").write_bytes(b"agent")
    payload = Payload(tmp_path / "agent.pyz", "drv", drivers, "contract")
    linked = Linked(guest, machine, dump_writer.full(dump_writer.guest()))
    artifacts = Artifacts(tmp_path / "artifacts")
    session = GuestSession(linked, machine, guest.profile, payload, artifacts, {"waits": "here"}, {})
    bench = Bench(session, artifacts, ExitStack())
    bench.connect("release")
    expected = CrashExpectation(bugcheck=0xD1, parameters=dump_writer.PARAMETERS)
    crashed = bench.run(Scenario("s.down", "s", expect_crash=expected, expect_dbgprint=("last words",)))
    assert (crashed.outcome, crashed.message) == (Outcome.PASSED, "")
    assert crashed.crash is not None
    assert (crashed.crash.folder / "memory.dmp").read_bytes().startswith(b"PAGEDU64")
    assert any("memory.dmp is from the guest" in note for note in crashed.crash.notes)
    following = bench.run(Scenario("s.one", "s"))
    assert following.outcome is Outcome.PASSED
    assert not following.notes, "its end marker came through the restored kernel"
    bench.guest.disconnect()
