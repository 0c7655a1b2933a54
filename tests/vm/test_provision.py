"""Provisioning for real, as far as Wine goes: its registry, its service control manager, its serial ports.

Where Wine lacks a tool, or has one that succeeds without effect, the self-check must name the setting.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.run.live import LiveGuest
from harness.toolchain.provision import build_provision
from tests.vm.conftest import CommandLine

FOLDER = r"C:\trial"
PYTHON = r"C:\Python\python.exe"
CONTROL = r"HKLM\SYSTEM\CurrentControlSet\Control"
SETTINGS = {
    "version": 1,
    "profile": "wine",
    "journal": "COM3",
    "memory_integrity": False,
    "dbgprint_mask": 15,
    "crash": {"dump": "active", "auto_reboot": False, "page_file_mib": 512, "dedicated_file_mib": 300},
}
WITHOUT_BCDEDIT = ["recoveryenabled", "bootstatuspolicy"]


@dataclass(frozen=True)
class Provisioned:
    """One run: its exit code, and what it wrote to the serial port."""

    code: int
    events: list[dict[str, Any]]

    def applied(self) -> dict[str, str]:
        """Step -> its last state."""
        return {event["step"]: event["state"] for event in self.events if event["phase"] == "apply"}

    def wrong(self) -> list[str]:
        """Settings that are not as wanted."""
        return [event["setting"] for event in self.events if event["state"] == "wrong"]


@dataclass(frozen=True)
class Guest:
    """The guest that is up, with the zipapp in it."""

    winvm: CommandLine
    journal: Path
    folder: Path

    def provision(self, settings: dict[str, Any], *options: str) -> Provisioned:
        """Runs the zipapp with `settings` to its end."""
        file = self.folder / "provision.json"
        file.write_text(json.dumps(settings), encoding="ascii")
        self.winvm.ok("push", str(file), rf"{FOLDER}\provision.json")
        before = self.journal.stat().st_size
        command = (PYTHON, rf"{FOLDER}\provision.pyz", "--no-restart", *options, rf"{FOLDER}\provision.json")
        done = self.winvm.run("exec", "--", *command)
        limit = Deadline.after(30)
        while b'"phase": "end"' not in (written := self.journal.read_bytes()[before:]):
            limit.check("The last line of the journal on the serial port")
            time.sleep(0.05)
        return Provisioned(done.returncode, [json.loads(line) for line in written.splitlines()])

    def values(self, *named: tuple[str, str]) -> list[str]:
        """Type and data of each (key, value) as Wine's own reg.exe prints them; empty if it is missing."""
        script = self.folder / "values.cmd"
        queries = "".join(f'reg.exe query "{key}" /v {name}\r\necho ====\r\n' for key, name in named)
        script.write_text(f"@echo off\r\n{queries}exit 0\r\n", encoding="ascii", newline="")
        self.winvm.ok("push", str(script), rf"{FOLDER}\values.cmd")
        shown = self.winvm.ok("exec", "--", "cmd.exe", "/c", rf"{FOLDER}\values.cmd").decode()
        parts = zip(named, shown.split("===="), strict=False)
        return [" ".join(part.partition(f" {name} ")[2].split()) for (_, name), part in parts]


@pytest.fixture(scope="module")
def guest(winvm: CommandLine, up: LiveGuest, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp("provision")
    winvm.ok("push", str(build_provision(folder / "provision.pyz")), rf"{FOLDER}\provision.pyz")
    return Guest(winvm, up.channels.com3, folder)


@pytest.fixture(scope="module")
def first(guest: Guest) -> Provisioned:
    return guest.provision(SETTINGS)


def test_what_wine_has_is_set_and_what_it_lacks_is_named(first: Provisioned) -> None:
    assert first.code == 1
    assert first.wrong() == WITHOUT_BCDEDIT
    assert first.applied() == {
        "memory integrity": "done",
        "crash control": "done",
        "page file": "done",
        "start after a crash": "failed",
        "DbgPrint filter": "done",
        "autologon": "done",
        "secrets": "done",
    }
    assert first.events[-1]["message"] == "2 settings are not as wanted: recoveryenabled, bootstatuspolicy"


def test_the_registry_has_changed(guest: Guest, first: Provisioned) -> None:
    wanted = {
        ("CrashControl", "CrashDumpEnabled"): "REG_DWORD 0x1",
        ("CrashControl", "FilterPages"): "REG_DWORD 0x1",
        ("CrashControl", "AutoReboot"): "REG_DWORD 0x0",
        ("CrashControl", "DumpFile"): r"REG_EXPAND_SZ %SystemRoot%\MEMORY.DMP",
        ("CrashControl", "DedicatedDumpFile"): r"REG_SZ C:\winvm\dedicated.dmp",
        (r"Session Manager\Memory Management", "PagingFiles"): r"REG_MULTI_SZ C:\pagefile.sys 512 512",
        (r"Session Manager\Debug Print Filter", "DEFAULT"): "REG_DWORD 0xf",
        (r"DeviceGuard\Scenarios\HypervisorEnforcedCodeIntegrity", "Enabled"): "REG_DWORD 0x0",
    }
    found = guest.values(*((rf"{CONTROL}\{key}", name) for key, name in wanted))
    assert dict(zip(wanted, found, strict=True)) == wanted


def test_a_second_run_changes_nothing(guest: Guest, first: Provisioned) -> None:
    second = guest.provision(SETTINGS)
    assert second.wrong() == WITHOUT_BCDEDIT
    states = second.applied()
    assert states.pop("start after a crash") == "failed"
    assert states.pop("secrets") == "done"  # provision.json was there again
    assert set(states.values()) == {"already"}


def test_other_settings_change_only_what_differs(guest: Guest, first: Provisioned) -> None:
    crash = {"dump": "kernel", "auto_reboot": False, "page_file_mib": 512}
    third = guest.provision({**SETTINGS, "crash": crash})
    assert third.wrong() == WITHOUT_BCDEDIT
    states = third.applied()
    assert (states["crash control"], states["page file"]) == ("done", "done")
    assert (states["DbgPrint filter"], states["memory integrity"]) == ("already", "already")
    control = rf"{CONTROL}\CrashControl"
    assert guest.values((control, "CrashDumpEnabled"), (control, "FilterPages")) == ["REG_DWORD 0x2", ""]


def test_a_tool_that_says_yes_and_does_nothing_is_found_out(guest: Guest, first: Provisioned) -> None:
    """Wine's certutil, icacls and powershell end with exit code 0 whatever they are asked."""
    certificate = guest.folder / "test.cer"
    certificate.write_bytes(b"0\x03\x02\x01\x01")
    guest.winvm.ok("push", str(certificate), rf"{FOLDER}\test.cer")
    settings = {
        "version": 1,
        "profile": "wine",
        "journal": "COM3",
        "quiet": True,
        "certificates": ["test.cer"],
    }
    done = guest.provision(settings)
    assert done.code == 1
    assert {
        "test.cer in Root",
        "test.cer in TrustedPublisher",
        "wuauserv start",
        "monitor-timeout-ac",
    } <= set(done.wrong())
    assert "NoAutoUpdate" not in done.wrong()
    told = {event["step"]: event["message"] for event in done.events if event["state"] == "failed"}
    assert "powercfg.exe cannot be started" in told["sleep and fast start-up"]
    assert "wuauserv start: sc.exe ended with exit code" in told["updates"]


def test_settings_that_cannot_be_used_change_nothing(guest: Guest) -> None:
    file = guest.folder / "wrong.json"
    file.write_text('{"version": 1, "profile": "wine", "jurnal": "COM3"}', encoding="ascii")
    guest.winvm.ok("push", str(file), rf"{FOLDER}\wrong.json")
    done = guest.winvm.run("exec", "--", PYTHON, rf"{FOLDER}\provision.pyz", rf"{FOLDER}\wrong.json")
    assert done.returncode == 2
    assert b"jurnal is not a known key" in done.stderr
