"""Provisioning where something fails, and provisioning by other profiles, on a fake Windows."""

from __future__ import annotations

from typing import Any

import pytest
from provision.machine import Kind, RegistryData
from provision.runner import Outcome
from provision.staging import RESUME

from tests.fakes.provision_machine import KEY, Run, full, prepared, registry
from tests.fakes.windows_tools import CONTROL_MAC


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
    [  # powercfg.exe changes only what is wished
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
    assert run.whole() is (Outcome.OK if program == "powercfg.exe" else Outcome.FAILED)
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


def test_an_update_service_that_windows_switches_on_again_is_a_warning() -> None:
    run = Run(prepared())
    run.machine.revived = "wuauserv"
    assert run.whole() is Outcome.OK
    (wrong,) = [event for event in run.events if event["state"] == "wrong"]
    assert (wrong["setting"], wrong["found"], wrong["wished"]) == ("wuauserv start", "DWORD 3", "yes")
    assert run.events[-1]["message"] == ("1 settings that are only wished are not as wanted: wuauserv start")
    assert registry(run, r"SOFTWARE\winvm", "Provisioned") == "windows-11"


def test_a_required_setting_is_named_before_a_wished_one() -> None:
    run = Run(prepared())
    run.machine.revived = "wuauserv"
    run.machine.broken["certutil.exe"] = "no"
    assert run.whole() is Outcome.FAILED
    assert run.events[-1]["message"].startswith("2 settings are not as wanted: test.cer in Root")


def test_a_download_that_fails_at_first_is_tried_again() -> None:
    document = {**full(), "ssh": {"install": "capability", **SSH}}
    run = Run(prepared(document=document), document)
    run.machine.internet_after = 40.0
    assert run.whole() is Outcome.OK, run.wrong()
    adds = [argv for argv, _ in run.machine.commands if "Add-WindowsCapability" in argv[-1]]
    assert 1 < len(adds) <= 3


@pytest.mark.parametrize("disabled", [False, True])
def test_what_windows_says_of_a_missing_source_is_explained(disabled: bool) -> None:
    document = {**full(), "ssh": {"install": "capability", **SSH}}
    run = Run(prepared(document=document), document)
    if disabled:
        run.machine.set_value(
            r"SYSTEM\CurrentControlSet\Services\wuauserv", "Start", RegistryData(Kind.DWORD, 4)
        )
    assert run.whole() is Outcome.FAILED
    failed = next(event for event in run.events if event["state"] == "failed")
    assert ("update service" in failed["message"]) is disabled
    assert ("found no source" in failed["message"]) is not disabled


def test_an_adapter_that_has_another_address_gets_the_one_that_is_forwarded_to() -> None:
    run = Run(prepared())
    run.machine.addresses = {CONTROL_MAC: ("10.0.2.99", "Manual"), "52-54-00-12-34-57": ("10.0.3.15", "Dhcp")}
    assert run.whole() is Outcome.OK, run.wrong()
    assert run.machine.addresses[CONTROL_MAC] == ("10.0.2.15", "Manual")
    assert run.machine.addresses["52-54-00-12-34-57"] == ("10.0.3.15", "Dhcp")


@pytest.mark.parametrize("internet", [True, False])
def test_an_evaluation_is_activated_where_the_network_is_open_and_its_state_is_read(internet: bool) -> None:
    document = {**full(), "activate": True}
    run = Run(prepared(document=document, internet=internet), document)
    assert run.whole() is Outcome.OK, "a guest without it works for days"
    found = {
        e["setting"]: e["found"] for e in run.events if (e["step"], e["phase"]) == ("activation", "check")
    }
    if internet:
        assert found == {
            "LicenseStatus": "1",
            "EvaluationEndDate": "2027-05-29",
            "GracePeriodRemaining": "259200",
        }
    else:
        assert found["LicenseStatus"] == "2"
        assert found["GracePeriodRemaining"] == "14400"
        assert run.wrong() == ["LicenseStatus"]
        assert "licensing service refuses" in "".join(event["message"] for event in run.events)


def owned(script: bytes) -> Run:
    document = {**full(), "own": {"files": ["tool.exe", "setup.cmd"], "script": "setup.cmd"}}
    machine = prepared(document=document)
    machine.files |= {
        r"c:\winvm\provision\tool.exe": b"MZ",
        r"c:\winvm\provision\setup.cmd": script,
    }
    return Run(machine, document)


def test_files_and_a_script_of_ones_own() -> None:
    run = owned(b"tool.exe")
    assert run.whole() is Outcome.OK, run.wrong()
    assert run.machine.files[r"c:\winvm\files\tool.exe"] == b"MZ"
    assert run.machine.ran == [r"C:\winvm\files\setup.cmd"], "once, the restart included"


def test_a_script_of_ones_own_that_fails_fails_the_image() -> None:
    run = owned(b"exit /b 3")
    assert run.whole() is Outcome.FAILED
    assert "setup.cmd" in run.wrong()
    failed = next(event for event in run.events if event["state"] == "failed")
    assert failed["message"] == "setup.cmd: cmd.exe ended with exit code 3: what it printed"


def test_the_task_of_the_first_logon_is_removed_at_the_end() -> None:
    run = Run(prepared())
    assert run.process() is Outcome.RESTARTING
    run.machine.tasks["winvm-configuration"] = r"cmd.exe /c C:\winvm\configuration.cmd"
    assert set(run.machine.tasks) == {"winvm-provision", "winvm-configuration"}
    assert run.machine.restart() == RESUME
    assert run.process(resumed=True) is Outcome.OK
    assert run.machine.tasks == {}
