"""Watching an installation: a recorded journal on a fake machine, in simulated time; and what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from provision.journal import Journal as Provisioning

from harness.deadline import Deadline
from harness.errors import DeadlineError, ImageError, MachineError, WinvmError
from harness.guests.windows.image.installation import KEY_ENTER, Installation, Limits, Report
from harness.journal import Event, Journal
from tests.fakes.machine import PNG, FakeMachine

Act = Callable[[FakeMachine], None]
LIMITS = Limits(stall=900, keys=45)


def says(line: bytes | dict[str, object]) -> Act:
    data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
    return lambda machine: machine.write("journal", data)


def phase(name: str) -> Act:
    return says({"step": name, "phase": "setup", "state": "running"})


def provisioning(*events: tuple[str, ...], secret: str = "") -> Act:
    """Lines as the guest's own journal writes them."""

    def act(machine: FakeMachine) -> None:
        journal = Provisioning([lambda line: machine.write("journal", line)], [secret] if secret else [])
        for step, name, state, *message in events:
            if name == "check":
                journal.write(step, name, state, setting=message[0], wanted="1", found="1")
            else:
                journal.write(step, name, state, message="".join(message))

    return act


def off(machine: FakeMachine) -> None:
    machine.die("shut down")


SUCCESS: dict[float, Act] = {
    70: phase("windowsPE"),
    1000: phase("specialize"),
    1300: phase("first logon"),
    1310: provisioning(("provision", "start", "running", "profile windows-11")),
    1320: provisioning(("test signing", "apply", "running"), ("test signing", "apply", "done")),
    1330: provisioning(("provision", "restart", "running")),
    1400: says(b'{"step":"prov{"step":"provision","phase":"start","state":"resumed"}\n'),
    1410: provisioning(("test signing", "check", "ok", "testsigning"), ("OpenSSH", "check", "ok", "sshd")),
    1420: provisioning(("provision", "end", "ok")),
    1450: off,
}


class Screen(FakeMachine):
    """Shows another picture each time, as Setup does, unless it is frozen at some time."""

    frozen = False
    pictures = 0

    def screenshot(self, file: Path, deadline: Deadline) -> Path:
        self._enter("screenshot", deadline)
        self.pictures += not self.frozen
        file.write_bytes(PNG + str(self.pictures).encode())
        return file


@dataclass
class Installed:
    """An installation in simulated time."""

    folder: Path
    script: dict[float, Act]
    limits: Limits = LIMITS
    now: float = 0.0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Screen(self.folder / "machine")
        self.evidence = self.folder / "evidence"
        self.evidence.mkdir(parents=True)
        self.left = dict(sorted(self.script.items()))

    def pause(self, seconds: float) -> None:
        self.now += seconds
        for at in [at for at in self.left if at <= self.now]:
            self.left.pop(at)(self.machine)

    def run(self, seconds: float = 10_800) -> Report:
        journal = Journal()
        journal.listen(self.events.append)
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        installation = Installation(
            self.machine, self.evidence, journal, self.limits, clock=clock, pause=self.pause
        )
        return installation.run(Deadline.after(seconds, clock))

    @property
    def steps(self) -> list[str]:
        return [str(event["step"]) for event in self.events if event["event"] == "start"]


def failing(folder: Path, script: dict[float, Act], seconds: float = 10_800) -> tuple[WinvmError, Installed]:
    installed = Installed(folder, script)
    with pytest.raises(WinvmError) as caught:
        installed.run(seconds)
    assert caught.value.remedy
    assert str(installed.evidence) in caught.value.detail
    assert (installed.evidence / "last.png").exists()
    ends = [event for event in installed.events if event["event"] == "end"]
    assert len(ends) == len(installed.steps)  # no step stays open
    assert not ends[-1]["ok"]
    return caught.value, installed


def test_an_installation_that_goes_well(tmp_path: Path) -> None:
    installed = Installed(tmp_path, SUCCESS)
    report = installed.run()
    assert [(entry.step, entry.setting) for entry in report.checks] == [
        ("test signing", "testsigning"),
        ("OpenSSH", "sshd"),
    ]
    assert 1450 <= report.seconds < 1460
    assert installed.steps == [
        "image: Windows Setup, starting",
        "image: Windows Setup, copying",
        "image: Windows Setup, configuring",
        "image: first logon",
        "image: set up test signing",
        "image: restart of Windows",
        "image: self-check",
        "image: shutdown of Windows",
    ]
    assert all(event["ok"] for event in installed.events if event["event"] == "end")


def test_a_screenshot_is_kept_for_every_minute(tmp_path: Path) -> None:
    installed = Installed(tmp_path, SUCCESS)
    installed.run()
    kept = sorted(path.name for path in (installed.evidence / "screenshots").iterdir())
    assert kept == [f"{minute:04}.png" for minute in range(25)]


def test_what_the_guest_said_is_kept(tmp_path: Path) -> None:
    installed = Installed(tmp_path, SUCCESS)
    installed.run()
    lines = [json.loads(line) for line in (installed.evidence / "journal.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines[:3]] == ["windowsPE", "specialize", "first logon"]
    assert lines[-1] == {"step": "provision", "phase": "end", "state": "ok"}


def test_a_key_is_pressed_until_setup_speaks_and_never_after(tmp_path: Path) -> None:
    keys = f"press_key {KEY_ENTER}"
    installed = Installed(tmp_path / "a", SUCCESS)
    installed.run()
    assert installed.machine.calls.count(keys) == LIMITS.keys
    early = Installed(tmp_path / "b", {10: phase("windowsPE"), **SUCCESS})
    early.run()
    assert early.machine.calls.count(keys) == 10


def test_a_screen_that_changes_is_progress_and_a_frozen_one_is_none(tmp_path: Path) -> None:
    def freeze(machine: FakeMachine) -> None:
        machine.frozen = True  # type: ignore[attr-defined]

    error, installed = failing(tmp_path, {70: phase("windowsPE"), 2000: freeze})
    assert isinstance(error, ImageError)
    assert "journal, screen and disk have not changed for 900 s (Windows Setup, copying)" in error.message
    assert "last.png" in error.remedy
    assert 2000 + 900 - 60 <= installed.now <= 2000 + 900 + 60


def test_a_growing_disk_is_progress(tmp_path: Path) -> None:
    def freeze(machine: FakeMachine) -> None:
        machine.frozen = True  # type: ignore[attr-defined]

    def grow(machine: FakeMachine) -> None:
        machine.disk.write_bytes(bytes(int(1e6)))

    _, installed = failing(tmp_path, {70: freeze, 600: grow})
    assert 1500 <= installed.now < 1600


def test_a_desktops_clock_is_no_progress(tmp_path: Path) -> None:
    script: dict[float, Act] = {70: phase("windowsPE"), 100: provisioning(("OpenSSH", "apply", "running"))}
    error, installed = failing(tmp_path, script)
    assert "its journal has not changed for 900 s (set up OpenSSH)" in error.message
    assert 1000 <= installed.now < 1010


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (
            (("provision", "end", "failed", "2 settings are not as wanted: sshd"),),
            "2 settings are not as wanted",
        ),
        ((("provision", "end", "waiting"),), "could not be set up: waiting"),
        ((("provision", "start", "failed", "provision.json is not JSON"),), "provision.json is not JSON"),
        ((("provision", "restart", "failed", "shutdown.exe: 5"),), "shutdown.exe: 5"),
    ],
)
def test_a_provisioning_that_fails_fails_the_image(
    events: tuple[tuple[str, ...], ...], words: str, tmp_path: Path
) -> None:
    error, _ = failing(tmp_path, {70: phase("windowsPE"), 1300: provisioning(*events)})
    assert words in error.message
    assert "setup windowsPE: running" in error.detail


def test_a_step_that_fails_is_reported_at_once(tmp_path: Path) -> None:
    installed = Installed(tmp_path, {**SUCCESS, 1325: provisioning(("quiet", "apply", "failed", "no"))})
    installed.run()
    warnings = [event["text"] for event in installed.events if event["event"] == "warning"]
    assert warnings == ["in the guest: apply quiet: failed, no"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            {30: off},
            r"The machine is stopped \(shut down\) before Windows was set up \(Windows Setup, starting\)",
        ),
        ({70: phase("windowsPE"), 90: lambda machine: machine.die()}, r"stopped \(QEMU died\) .*copying"),
        (
            {70: lambda machine: machine.suspend(Deadline.after(1))},
            r"The machine is paused \(suspended\) before",
        ),
    ],
)
def test_a_machine_that_ends_early_is_reported(script: dict[float, Act], words: str, tmp_path: Path) -> None:
    error, _ = failing(tmp_path, script)
    assert re.search(words, error.message)


def test_what_is_written_just_before_the_end_counts(tmp_path: Path) -> None:
    def last(machine: FakeMachine) -> None:
        provisioning(("provision", "end", "ok"))(machine)
        off(machine)

    script = {at: act for at, act in SUCCESS.items() if at < 1420} | {1420: last}
    assert len(Installed(tmp_path, script).run().checks) == 2


def test_a_guest_that_does_not_go_off_is_given_up(tmp_path: Path) -> None:
    error, _ = failing(tmp_path, {at: act for at, act in SUCCESS.items() if at < 1450})
    assert "(shutdown of Windows)" in error.message


def test_the_deadline_is_the_profiles(tmp_path: Path) -> None:
    error, _ = failing(tmp_path, {70: phase("windowsPE")}, seconds=600)
    assert isinstance(error, DeadlineError)
    assert (
        error.message == "The installation of Windows did not finish within 600 s (Windows Setup, copying)."
    )
    assert "install.deadline" in error.remedy


def grow(bytes_: int) -> Act:
    def act(machine: FakeMachine) -> None:
        machine.disk.write_bytes(b"x" * bytes_)

    return act


def test_no_key_is_pressed_once_setup_writes_to_the_disk(tmp_path: Path) -> None:
    installed = Installed(tmp_path, {20: grow(2 << 20), **SUCCESS})
    installed.run()
    assert installed.machine.calls.count(f"press_key {KEY_ENTER}") == 20


def test_working_on_updates_at_a_restart_is_progress(tmp_path: Path) -> None:
    """The screen counts until the provisioning goes on: no desktop with a clock is shown then."""
    script: dict[float, Act] = {
        70: phase("configuration"),
        80: provisioning(("provision", "restart", "running")),
        4000: says({"step": "provision", "phase": "start", "state": "resumed"}),
    }
    error, installed = failing(tmp_path, script)
    assert "its journal has not changed for 900 s" in error.message
    assert 4900 <= installed.now < 4910


def test_a_disk_that_grows_much_is_progress_of_the_provisioning(tmp_path: Path) -> None:
    script: dict[float, Act] = {
        100: provisioning(("OpenSSH", "apply", "running")),
        700: grow(40 << 20),
        1500: grow(41 << 20),
    }
    _, installed = failing(tmp_path, script)
    assert 1600 <= installed.now < 1700


def test_the_first_step_and_the_pictures_are_named_by_the_stage(tmp_path: Path) -> None:
    installed = Installed(
        tmp_path, {70: phase("configuration"), 90: provisioning(("provision", "end", "ok")), 95: off}
    )
    shown: list[int] = []
    journal = Journal()
    journal.listen(installed.events.append)
    clock: Callable[[], float] = lambda: installed.now  # noqa: E731
    Installation(
        installed.machine,
        installed.evidence,
        journal,
        LIMITS,
        clock=clock,
        pause=installed.pause,
        started=lambda: shown.append(1),
        first="image: start of the installed Windows",
        pictures="p",
    ).run(Deadline.after(600, clock))
    assert shown == [1]
    assert installed.steps[0] == "image: start of the installed Windows"
    pictures = {file.name for file in (installed.evidence / "screenshots").iterdir()}
    assert pictures == {"p0000.png", "p0001.png"}


def test_a_wished_setting_that_is_not_there_is_warned_of(tmp_path: Path) -> None:
    wrong = {
        "step": "updates",
        "phase": "check",
        "state": "wrong",
        "setting": "wuauserv start",
        "wished": "yes",
    }
    installed = Installed(
        tmp_path, {**SUCCESS, 1415: says({**wrong, "wanted": "DWORD 4", "found": "DWORD 3"})}
    )
    assert len(installed.run().checks) == 3
    warnings = [event["text"] for event in installed.events if event["event"] == "warning"]
    assert warnings == ["in the guest: wuauserv start is DWORD 3, not DWORD 4"]


def test_the_last_picture_of_a_guest_that_is_off_is_the_newest_that_was_taken(tmp_path: Path) -> None:
    class Off(Screen):
        def screenshot(self, file: Path, deadline: Deadline) -> Path:
            if file.name == "last.png":
                raise MachineError("The domain is not running.")
            return super().screenshot(file, deadline)

    installed = Installed(tmp_path, {70: phase("windowsPE"), 150: off})
    installed.machine = Off(tmp_path / "machine")
    with pytest.raises(ImageError):
        installed.run()
    newest = installed.evidence / "screenshots" / "0002.png"
    assert (installed.evidence / "last.png").read_bytes() == newest.read_bytes()


@pytest.mark.parametrize(
    ("step", "times", "words"), [("windowsPE", 3, "from the CD again"), ("specialize", 4, "restarts")]
)
def test_setup_that_goes_round_in_a_loop_is_given_up(
    step: str, times: int, words: str, tmp_path: Path
) -> None:
    script: dict[float, Act] = {70.0 + 400 * number: phase(step) for number in range(times + 3)}
    error, installed = failing(tmp_path, script)
    assert f"its phase {step} began {times} times" in error.message
    assert words in error.message
    assert installed.now < 70 + 400 * times
