"""The pnputil commands, against their documented syntax, exit codes and outputs that others have recorded."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath

import pytest

from harness.deadline import Deadline
from harness.errors import DriverLoadError
from harness.guests.windows import pnputil
from tests.fakes.transport import FakeTransport

INF = PureWindowsPath(r"C:\winvm\run\release\mine.inf")
# PNPUTIL /add-driver <filename.inf | *.inf> [/subdirs] [/install] [/reboot]
ADD = re.compile(r"/add-driver \S+\.inf( /subdirs)?( /install)?( /reboot)?")
# PNPUTIL /delete-driver <oem#.inf> [/uninstall] [/force] [/reboot]
DELETE = re.compile(r"/delete-driver oem\d+\.inf( /uninstall)?( /force)?( /reboot)?")

ENGLISH = """Microsoft PnP Utility

Adding driver package:  mine.inf
Driver package added successfully.
Published Name:         oem12.inf
Driver package installed on device: ROOT\\MINE\\0000
"""
# A NetKVM adapter on Windows 11, and a printer's package: no device, no line about one.
NETKVM = """Microsoft PnP Utility

Adding driver package:  netkvm.inf
Driver package added successfully.
Published Name:         oem2.inf
Driver package installed on device: PCI\\VEN_1AF4&DEV_1041
Total driver packages:  1
Added driver packages:  1
"""
PRINTER = """Microsoft PnP Utility

Adding driver package:  brohl13a.inf
Driver package added successfully.
Published Name:         oem16.inf

Total driver packages:  1
Added driver packages:  1
"""
# /delete-driver /uninstall, where it works and where a device keeps the INF.
DELETED = """Microsoft PnP Utility

Driver package uninstalled.
Driver package deleted successfully.
"""
IN_USE = """Microsoft PnP Utility

Driver package uninstalled.
Failed to delete driver package: One or more devices are presently installed using the specified INF.
"""
GERMAN = "Treiberpaket erfolgreich hinzugefügt.\nVeröffentlichter Name:         OEM7.INF\n"


def test_the_commands_are_the_documented_ones() -> None:
    program, *arguments = pnputil.add_command(INF)
    assert program.lower().endswith(r"\system32\pnputil.exe")
    assert ADD.fullmatch(" ".join(arguments))
    assert arguments == ["/add-driver", str(INF), "/install"]
    _, *arguments = pnputil.delete_command("oem12.inf")
    assert DELETE.fullmatch(" ".join(arguments))
    assert arguments == ["/delete-driver", "oem12.inf", "/uninstall", "/force"]


@pytest.mark.parametrize(
    "name", ["mine.inf", "oem.inf", "oem1.inf /reboot", r"..\oem1.inf", "oem1.inf\n", ""]
)
def test_only_a_published_name_is_deleted(name: str) -> None:
    with pytest.raises(ValueError, match="not a published name"):
        pnputil.delete_command(name)


@pytest.mark.parametrize(
    ("output", "name"),
    [(ENGLISH, "oem12.inf"), (NETKVM, "oem2.inf"), (PRINTER, "oem16.inf"), (GERMAN, "oem7.inf")],
)
def test_the_published_name_is_found_in_any_language(output: str, name: str) -> None:
    assert pnputil.published_name(INF, 0, output) == name


@pytest.mark.parametrize(
    ("code", "output", "message"),
    [
        (259, ENGLISH, "no device takes it"),
        (3010, ENGLISH, "restart"),
        (1641, ENGLISH, "restart"),
        (5, "Access is denied.", "exit code 5"),
        (0, "nothing to be seen", "exit code 0"),
    ],
)
def test_every_refusal_is_distinguished(code: int, output: str, message: str) -> None:
    with pytest.raises(DriverLoadError, match=message) as caught:
        pnputil.published_name(INF, code, output)
    assert caught.value.detail == output


def test_a_package_is_deleted_there_and_then_or_the_reason_is_reported() -> None:
    pnputil.check_deleted("oem2.inf", 0, DELETED)
    for code, output, message in (
        (0xE000023D, IN_USE, "a device still uses it"),
        (3010, DELETED, "only when the guest restarts"),
        (87, "Failed to delete driver package: The parameter is incorrect.", "exit code 0x57"),
    ):
        with pytest.raises(DriverLoadError, match=message) as caught:
            pnputil.check_deleted("oem2.inf", code, output)
        assert caught.value.detail == output


def test_a_certificate_is_trusted_before_the_package_is_added() -> None:
    transport = FakeTransport()
    transport.answer(pnputil.CERTUTIL)
    transport.answer(pnputil.PNPUTIL, stdout=NETKVM.encode() + b"\x84")  # a byte of the OEM code page
    certificate = r"C:\winvm\run\release\package\mine.cer"
    assert pnputil.install(transport, INF, [certificate], Deadline.after(5)) == "oem2.inf"
    trusting = [(pnputil.CERTUTIL, "-f", "-addstore", store, certificate) for store in pnputil.STORES]
    assert transport.commands == [*trusting, pnputil.add_command(INF)]


def test_a_certificate_that_is_none_is_reported() -> None:
    transport = FakeTransport()
    transport.answer(pnputil.CERTUTIL, exit_code=0x8009310B, stdout=b"ASN1 bad tag value met.")
    with pytest.raises(DriverLoadError, match=r"C:\\mine.cer to Root: exit code 0x8009310b") as caught:
        pnputil.install(transport, INF, [r"C:\mine.cer"], Deadline.after(5))
    assert caught.value.detail == "ASN1 bad tag value met."
