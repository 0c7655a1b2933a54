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
    assert len(added) == 4
    for line in added:
        assert run_line(winvm, line) == 0
        key, name = re.findall(r'add "([^"]+)" /v (\w+)', line)[0]
        shown = winvm.ok("exec", "--", "reg.exe", "query", key, "/v", name).decode()
        assert re.search(rf"{name}\s+REG_DWORD\s+0x1", shown)


def test_the_first_logon_finds_its_cd_and_hands_over(
    winvm: CommandLine, up: LiveGuest, answer_file: ET.Element, tmp_path: Path
) -> None:
    """C: is the CD here, and Python is there already; the settings are wrong, so that nothing is changed."""
    start = contents("", b"", b"", {}, {}, {})["winvm/start.cmd"]
    (tmp_path / "start.cmd").write_bytes(start)
    (tmp_path / "provision.json").write_text('{"version": 1, "profile": "windows-11", "jurnal": "COM2"}')
    build_provision(tmp_path / "provision.pyz")
    for name in ("start.cmd", "provision.json", "provision.pyz"):
        winvm.ok("push", str(tmp_path / name), rf"C:\winvm\{name}")
    before = up.channels.journal.stat().st_size
    (line,) = lines_of(answer_file, "CommandLine")
    assert "(D E F G H I)" in line
    run_line(winvm, line.replace("(D E F G H I)", "(Y C)"))
    first, second = written(up, before, 2)
    assert first == Entry("first logon", "setup", "running")
    assert (second.phase, second.state) == ("start", "failed")
    assert "jurnal is not a known key" in second.message
