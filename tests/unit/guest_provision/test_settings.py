"""provision.json: what is read, what is refused, and that no message repeats a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from provision.settings import Kdnet, NoDebugger, SerialDebugger, Settings, SettingsError, parse

KEY = "3k9.zz.1.0"
WINRM = {"certificate": "winrm.pfx", "password": "hunter2 secret", "thumbprint": "0a" * 20}
SSH = {"install": "bundle", "bundle": "openssh", "host_key": "host", "authorized_keys": "keys"}
KDNET = {"transport": "kdnet", "host_ip": "10.0.2.2", "port": 50000, "key": KEY, "bus_parameters": "0.4.0"}
LEAST: dict[str, Any] = {"version": 1, "profile": "windows-11"}


def read(**entries: Any) -> Settings:
    return parse(json.dumps({**LEAST, **entries}).encode())


def problems(**entries: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        read(**entries)
    return str(caught.value)


def test_what_is_left_out_is_left_alone() -> None:
    settings = read(winrm=None)
    assert (settings.journal, settings.finish, settings.quiet) == ("COM2", "shut-down", False)
    assert (settings.test_signing, settings.kernel_debugger, settings.winrm, settings.ssh) == (None,) * 4
    assert settings.files == settings.secrets == ()


def test_everything_is_read() -> None:
    settings = read(
        journal="COM1",
        user="winvm",
        finish="stay",
        quiet=True,
        test_signing=True,
        memory_integrity=False,
        certificates=["test.cer"],
        dbgprint_mask=0xFFFFFFFF,
        kernel_debugger=KDNET,
        crash={"dump": "complete", "auto_reboot": False, "dedicated_file_mib": 4353},
        verifier={"drivers": ["winvm.sys"]},
        winrm=WINRM,
        ssh=SSH,
    )
    assert settings.kernel_debugger == Kdnet("10.0.2.2", 50000, KEY, "0.4.0", dhcp=True)
    assert settings.crash is not None
    assert (settings.crash.dump, settings.crash.auto_reboot, settings.crash.minidumps) == (
        "complete",
        False,
        50,
    )
    assert settings.winrm is not None
    assert settings.winrm.thumbprint == "0A" * 20
    assert settings.files == ("test.cer", "winrm.pfx", "host", "keys")
    assert settings.secret_files == ("winrm.pfx", "host")
    assert set(settings.secrets) == {KEY, "hunter2 secret"}
    assert KEY not in repr(settings)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("section", "debugger"),
    [
        ({"transport": "off"}, NoDebugger()),
        ({"transport": "serial"}, SerialDebugger(1, 115200)),
        ({"transport": "serial", "port": 3, "baud_rate": 9600}, SerialDebugger(3, 9600)),
    ],
)
def test_other_debuggers(section: dict[str, Any], debugger: NoDebugger | SerialDebugger) -> None:
    assert read(kernel_debugger=section).kernel_debugger == debugger


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"version": 2}, "version must be a whole number from 1 to 1; it is 2"),
        ({"profile": None}, "profile must be a string; it is missing"),
        ({"test_singing": True}, "test_singing is not a known key"),
        ({"test_signing": "yes"}, "test_signing must be true or false; it is a string"),
        ({"quiet": 1}, "quiet must be true or false; it is 1"),
        ({"journal": "COM10"}, "journal must be a serial port, COM1 to COM9"),
        ({"user": "a&b"}, "user must be an account's name"),
        (
            {"certificates": ["../x.cer"]},
            "certificates must be a list whose every entry is a file name without a folder",
        ),
        ({"certificates": "x.cer"}, "certificates must be a list; it is a string"),
        ({"dbgprint_mask": True}, "dbgprint_mask must be a whole number from 0 to 4294967295; it is True"),
        ({"dbgprint_mask": 1 << 32}, "dbgprint_mask must be a whole number"),
        ({"crash": []}, "crash must be an object; it is a list"),
        ({"crash": {"dump": "big"}}, "crash.dump must be one of kernel, automatic"),
        ({"crash": {"dum": "small"}}, "crash.dum is not a known key"),
        ({"verifier": {"drivers": ["*"]}}, "verifier.drivers must be a list whose every entry is a driver's"),
        (
            {"verifier": {"drivers": [r"C:\a.sys"]}},
            "verifier.drivers must be a list whose every entry is a driver's",
        ),
        ({"winrm": {**WINRM, "thumbprint": "0a"}}, "winrm.thumbprint must be 40 hexadecimal digits"),
        ({"winrm": {**WINRM, "certificate": r"C:\x.pfx"}}, "winrm.certificate must be a file name without"),
        ({"ssh": {**SSH, "install": "present"}}, "ssh.bundle names the folder of Win32-OpenSSH"),
        ({"ssh": {**SSH, "bundle": ""}}, "ssh.bundle names the folder of Win32-OpenSSH"),
        ({"kernel_debugger": {"transport": "usb"}}, "kernel_debugger.transport must be one of off, serial"),
        (
            {"kernel_debugger": {**KDNET, "port": 5000}},
            "kernel_debugger.port must be a whole number from 49152",
        ),
        ({"kernel_debugger": {**KDNET, "key": "1.2.3"}}, "kernel_debugger.key must be four words of 0-9"),
        ({"kernel_debugger": {**KDNET, "key": "A.b.c.d"}}, "kernel_debugger.key must be four words of 0-9"),
        (
            {"kernel_debugger": {**KDNET, "key": f"{'z' * 13}.1.1.1"}},
            "kernel_debugger.key has a word of 2**64",
        ),
        (
            {"kernel_debugger": {**KDNET, "host_ip": "10.0.2"}},
            "kernel_debugger.host_ip must be an IPv4 address",
        ),
        ({"kernel_debugger": {**KDNET, "bus_parameters": "0.32.0"}}, "must be at most 255.31.7"),
        (
            {"kernel_debugger": {"transport": "serial", "port": 2}},
            "journal is COM2, which the kernel debugger",
        ),
    ],
)
def test_what_is_wrong_is_reported_by_its_key(entries: dict[str, Any], complaint: str) -> None:
    assert complaint in problems(**entries)


def test_everything_wrong_is_reported_at_once() -> None:
    lines = problems(quiet="no", crash={"dump": 3}, nonsense=1).splitlines()
    assert [line.split()[0] for line in lines] == ["quiet", "crash.dump", "nonsense"]


def test_a_word_just_below_the_limit_is_a_key() -> None:
    read(kernel_debugger={**KDNET, "key": "3w5e11264sgsf.0.0.0"})  # 2**64 - 1


@pytest.mark.parametrize(
    "entries",
    [
        {"winrm": {**WINRM, "password": ["sesame"]}},
        {"winrm": {**WINRM, "password": "sesame\nopen"}},
        {"kernel_debugger": {**KDNET, "key": "sesame"}},
        {"ssh": {**SSH, "host_key": "-----BEGIN sesame"}},
    ],
)
def test_no_message_repeats_a_secret(entries: dict[str, Any]) -> None:
    assert "sesame" not in problems(**entries)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a": sesame', "not JSON: JSONDecodeError at line 1, column 7"),
        (b"\xff\xfe{", "not JSON: UnicodeDecodeError"),
        (b"[1]", "must be one JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (1 << 20) + b"{}", "longer than 1048576 bytes"),
    ],
)
def test_what_is_no_settings_file(content: bytes, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        parse(content)
    assert "sesame" not in str(caught.value)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps(LEAST).encode()).profile == "windows-11"
