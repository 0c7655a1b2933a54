"""The pnputil commands, against their documented syntax and exit codes."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath

import pytest

from harness.errors import DriverLoadError
from harness.guests import pnputil

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


@pytest.mark.parametrize(("output", "name"), [(ENGLISH, "oem12.inf"), (GERMAN, "oem7.inf")])
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
def test_every_refusal_is_told_apart(code: int, output: str, message: str) -> None:
    with pytest.raises(DriverLoadError, match=message) as caught:
        pnputil.published_name(INF, code, output)
    assert caught.value.detail == output
