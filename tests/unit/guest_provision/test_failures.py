"""Provisioning where something fails, and provisioning by other profiles, on a fake Windows."""

from __future__ import annotations

from typing import Any

import pytest
from provision.runner import Outcome

from tests.fakes.provision_machine import KEY, Run, full, prepared, registry


def test_secure_boot_stops_it_and_is_named() -> None:
    run = Run(prepared(secure_boot=True))
    assert run.whole() is Outcome.FAILED
    assert run.restarts == 0
    failed = next(event for event in run.events if event["state"] == "failed")
    assert failed["step"] == "test signing"
    assert "protected by Secure Boot policy" in failed["message"]
    assert "testsigning" in run.wrong()
    words = run.states("apply")
    assert words["test certificates"] == "done"
    assert words["kernel debugger"] == words["OpenSSH keys"] == "skipped"
    assert run.machine.rules == {}
    assert run.machine.power == "off"


@pytest.mark.parametrize(
    ("program", "failed", "wrong"),
    [
        ("verifier.exe", {"Driver Verifier"}, {"verified drivers"}),
        ("sc.exe", {"updates", "WinRM service", "OpenSSH service"}, {"wuauserv start", "WinRM start"}),
        ("powercfg.exe", {"sleep and fast start-up"}, {"monitor-timeout-ac", "hibernation"}),
        ("certutil.exe", {"test certificates"}, {"test.cer in Root", "test.cer in TrustedPublisher"}),
        ("icacls.exe", {"OpenSSH keys"}, {"access to ssh_host_ed25519_key"}),
        (
            "powershell.exe",
            {"account", "OpenSSH", "WinRM certificate", "WinRM listener", "WinRM options", "firewall"},
            {"listeners' Transport", "port of SSH", "VirtualizationBasedSecurityStatus", "sshd"},
        ),
    ],
)
def test_a_tool_that_fails_is_reported_and_the_rest_goes_on(
    program: str, failed: set[str], wrong: set[str]
) -> None:
    run = Run(prepared())
    run.machine.broken[program] = f"out of order {KEY}"
    assert run.whole() is Outcome.FAILED
    assert failed <= {event["step"] for event in run.events if event["state"] == "failed"}
    assert wrong <= set(run.wrong())
    messages = "".join(event["message"] for event in run.events)
    assert f"{program} ended with exit code 1: out of order ***" in messages
    assert run.machine.boot.debugger["key"] == KEY
    assert run.machine.power == "off"
    assert not run.machine.tasks


def test_no_resume_task_no_change() -> None:
    run = Run(prepared())
    run.machine.broken["schtasks.exe"] = "access denied"
    assert run.whole() is Outcome.FAILED
    assert run.machine.boot.entry.get("testsigning") is None
    assert run.states("apply")["updates"] == "skipped"


def test_a_restart_that_windows_refuses_is_reported() -> None:
    run = Run(prepared())
    run.machine.broken["shutdown.exe"] = "privilege not held"
    assert run.process() is Outcome.FAILED
    assert run.events[-1]["state"] == "failed"
    assert "privilege not held" in run.events[-1]["message"]


@pytest.mark.parametrize("spaced", [False, True])
def test_certutil_may_print_hashes_with_blanks(spaced: bool) -> None:
    run = Run(prepared())
    run.machine.spaced_hashes = spaced
    assert run.whole() is Outcome.OK


SSH = {"host_key": "ssh_host", "authorized_keys": "authorized_keys"}


@pytest.mark.parametrize(
    "part",
    [
        {"kernel_debugger": {"transport": "off"}},
        {"kernel_debugger": {"transport": "serial", "port": 1}},
        {"kernel_debugger": {**full()["kernel_debugger"], "dhcp": False, "bus_parameters": ""}},
        {"crash": {"dump": "active", "auto_reboot": False}},
        {"crash": {"dump": "complete", "dedicated_file_mib": 4353}},
        {"crash": {"dump": "none"}},
        {"verifier": {"drivers": []}},
        {"memory_integrity": True},
        {"test_signing": False},
        {"certificates": [], "winrm": None, "ssh": None, "quiet": False, "user": ""},
    ],
)
def test_other_profiles(part: dict[str, Any]) -> None:
    document = {**full(), **part}
    run = Run(prepared(document=document), document)
    assert run.whole() is Outcome.OK, run.wrong()
    machine = run.machine
    if debugger := part.get("kernel_debugger"):
        assert machine.boot.entry["debug"] == ("No" if debugger["transport"] == "off" else "Yes")
        assert machine.boot.debugger.get("dhcp") != "Yes"
    if crash := part.get("crash"):
        control = r"SYSTEM\CurrentControlSet\Control\CrashControl"
        assert registry(run, control, "FilterPages") == (1 if crash["dump"] == "active" else None)
        assert registry(run, control, "DumpFileSize") == crash.get("dedicated_file_mib")
    if part.get("memory_integrity"):
        assert machine.code_integrity() & 0x400


def test_a_verified_driver_is_released_again() -> None:
    document = {**full(), "verifier": {"drivers": []}}
    machine = prepared(document=document)
    machine.verified = ["old.sys"]
    assert Run(machine, document).whole() is Outcome.OK
    assert machine.verified == []


@pytest.mark.parametrize("internet", [True, False])
def test_openssh_as_a_capability_needs_a_source(internet: bool) -> None:
    document = {**full(), "ssh": {"install": "capability", **SSH}}
    run = Run(prepared(document=document, internet=internet), document)
    assert run.whole() is (Outcome.OK if internet else Outcome.FAILED)
    assert ("sshd" in run.wrong()) is not internet


def test_openssh_that_should_be_present_and_is_not_is_reported() -> None:
    document = {**full(), "ssh": {"install": "present", **SSH}}
    run = Run(prepared(document=document), document)
    assert run.whole() is Outcome.FAILED
    assert run.wrong()[0] == "sshd"


def test_a_guest_may_be_left_running() -> None:
    document = {**full(), "finish": "stay"}
    run = Run(prepared(document=document), document)
    assert (run.whole(), run.machine.power) == (Outcome.OK, "on")


def test_a_machine_that_cannot_hibernate_is_not_asked_to_stop_it() -> None:
    run = Run(prepared())
    run.machine.delete_value(r"SYSTEM\CurrentControlSet\Control\Power", "HibernateEnabled")
    assert run.whole() is Outcome.OK
    assert ("powercfg.exe", "-h", "off") not in [argv for argv, _ in run.machine.commands]
