"""Commands of the answer file and start.cmd, run by Wine's cmd.exe: lines on COM2, a search for the CD."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.guests.windows.image.answer import Answers
from harness.guests.windows.image.configuration import contents
from harness.guests.windows.image.guestjournal import Entry, parse
from harness.guests.windows.image.media import Choice
from harness.guests.windows.image.wim import WimImage
from harness.run.live import LiveGuest
from harness.toolchain.provision import build_provision
from tests.fakes.profiles import windows_profile
from tests.vm.conftest import CommandLine

PYTHON = r"C:\Python\python.exe"


@pytest.fixture(scope="module")
def answer_file() -> ET.Element:
    profile = windows_profile("windows-11")
    image = WimImage(1, "", "EnterpriseEval", "Client", "amd64", 26100, 1, ("en-US",), 0)
    return ET.fromstring(Answers(profile, Choice(image, "", "en-US"), "password").render())


def lines_of(answer_file: ET.Element, tag: str) -> list[str]:
    found = answer_file.iter(f"{{urn:schemas-microsoft-com:unattend}}{tag}")
    return [element.text or "" for element in found]


def run_line(winvm: CommandLine, line: str) -> int:
    """The exit code of a command line that is handed to CreateProcess as it is, as Setup does."""
    program = f"import subprocess,sys; sys.exit(subprocess.call({line!r}))"
    return winvm.run("exec", "--", PYTHON, "-c", program).returncode


def written(up: LiveGuest, before: int, count: int) -> list[Entry]:
    """The next entries on COM2, as the host reads them."""
    limit = Deadline.after(30)
    while True:
        lines = up.channels.journal.read_bytes()[before:].split(b"\n")
        found = [entry for line in lines[:-1] if (entry := parse(line))]
        if len(found) >= count:
            return found
        limit.check("The journal on COM2")
        time.sleep(0.05)


def test_setup_tells_its_phases_on_com2(winvm: CommandLine, up: LiveGuest, answer_file: ET.Element) -> None:
    before = up.channels.journal.stat().st_size
    phases = [line for line in lines_of(answer_file, "Path") if "echo" in line]
    for line in phases:
        assert run_line(winvm, line) == 0
    assert written(up, before, 2) == [
        Entry("windowsPE", "setup", "running"),
        Entry("specialize", "setup", "running"),
    ]


def test_registry_commands_of_setup_are_taken(
    winvm: CommandLine, up: LiveGuest, answer_file: ET.Element
) -> None:
    added = [line for line in lines_of(answer_file, "Path") if line.startswith("reg.exe add")]
    assert len(added) == 6
    for line in added:
        assert run_line(winvm, line) == 0
        key, name = re.findall(r'add "([^"]+)" /v (\w+)', line)[0]
        shown = winvm.ok("exec", "--", "reg.exe", "query", key, "/v", name).decode()
        assert re.search(rf"{name}\s+REG_DWORD\s+0x1", shown)


def test_the_first_logon_plans_the_next_start_and_ends_the_stage_of_setup(
    winvm: CommandLine, up: LiveGuest, answer_file: ET.Element, tmp_path: Path
) -> None:
    """Stand-ins for the two programs that would change the guest itself say what they were told."""
    disc = contents("", b"", b"", {}, {}, {})
    for name in ("start.cmd", "configuration.cmd"):
        text = disc[f"winvm/{name}"].decode()
        for program in ("schtasks.exe", "shutdown.exe"):
            text = text.replace(f"{program} ", f"echo {program} ")
        (tmp_path / name).write_bytes(text.encode())
        winvm.ok("push", str(tmp_path / name), rf"C:\cd\winvm\{name}")
    before = up.channels.journal.stat().st_size
    said = winvm.run("exec", "--", "cmd.exe", "/c", r"C:\cd\winvm\start.cmd").stdout.decode()
    assert written(up, before, 2) == [
        Entry("first logon", "setup", "running"),
        Entry("setup done", "end", "ok"),
    ]
    assert "shutdown.exe /s /f /t 5" in said
    planned = next(line for line in said.splitlines() if line.startswith("schtasks.exe /create "))
    assert '/tr "cmd.exe /c C:\\winvm\\configuration.cmd"' in planned
    assert "/tn winvm-configuration /sc onstart /delay 0000:30 /ru SYSTEM /rl highest /f" in planned
    winvm.ok("pull", r"C:\winvm\configuration.cmd", str(tmp_path / "planned.cmd"))
    assert (tmp_path / "planned.cmd").read_bytes() == (tmp_path / "configuration.cmd").read_bytes()


def test_a_start_with_the_cd_in_a_drive_hands_over_to_the_provisioning(
    winvm: CommandLine, up: LiveGuest, answer_file: ET.Element, tmp_path: Path
) -> None:
    """C: is the CD here, and Python is there already; the settings are wrong, so that nothing is changed."""
    start = contents("", b"", b"", {}, {}, {})["winvm/start.cmd"]
    (tmp_path / "start.cmd").write_bytes(start)
    (tmp_path / "provision.json").write_text('{"version": 1, "profile": "windows-11", "jurnal": "COM2"}')
    build_provision(tmp_path / "provision.pyz")
    (tmp_path / "configuration.cmd").write_bytes(b"@rem the first logon has put it here\r\n")
    for name in ("start.cmd", "provision.json", "provision.pyz", "configuration.cmd"):
        winvm.ok("push", str(tmp_path / name), rf"C:\winvm\{name}")
    before = up.channels.journal.stat().st_size
    (line,) = lines_of(answer_file, "CommandLine")
    assert "(D E F G H I)" in line
    run_line(winvm, line.replace("(D E F G H I)", "(Y C)"))
    first, second = written(up, before, 2)
    assert first == Entry("configuration", "setup", "running")
    assert (second.phase, second.state) == ("start", "failed")
    at = up.channels.journal.stat().st_size
    run_line(winvm, line.replace("(D E F G H I)", "(Y C)"))
    assert up.channels.journal.stat().st_size == at, "a later start does not provision once more"
    assert "jurnal is not a known key" in second.message
