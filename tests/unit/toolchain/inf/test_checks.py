"""The checks of a driver package's INF: each mistake is found at its line, and a right INF has none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.toolchain.inf.checks import FINDINGS_LIMIT, check_inf
from harness.toolchain.package import take_package
from harness.toolchain.rules import SEVERITY

GOOD = """\
; a lamp
[Version]
Signature   = "$WINDOWS NT$"
Class       = Sample
ClassGuid   = {78A1C341-4539-11d3-B88D-00C04FAD5171}
Provider    = %Maker%
CatalogFile = lamp.cat ; signed
DriverVer   = 11/30/2026,1.0.0.0
PnpLockdown = 1

[DestinationDirs]
DefaultDestDir = 13

[SourceDisksNames]
1 = %Disk%,,,""

[SourceDisksFiles]
lamp.sys = 1

[Manufacturer]
%Maker% = Lamps,NTamd64.10.0...16299,NTarm64

[Lamps.NTamd64.10.0...16299]
%Lamp% = Lamp_Install, Root\\Lamp

[Lamps.NTarm64]
%Lamp% = Missing_On_Arm, Root\\Lamp

[Lamp_Install.NT]
CopyFiles = Lamp_Files
AddReg = Lamp_Registry

[Lamp_Files]
lamp.sys

[Lamp_Registry]
HKR,,"Says","","a; b, c = d"

[Lamp_Install.NT.Services]
AddService = lamp, 0x2, Lamp_Service

[Lamp_Service]
ServiceType   = 1
StartType     = 3
ErrorControl  = 1
ServiceBinary = %13%\\lamp.sys

[Strings]
Maker = "Makers, of lamps"
Disk  = "Disk"
Lamp  = "Lamp 100%%"
"""
PRIMITIVE = """\
[Version]
Signature = "$WINDOWS NT$"
Class = Sample
ClassGuid = {78A1C341-4539-11d3-B88D-00C04FAD5171}
Provider = Makers
CatalogFile = lamp.cat
DriverVer = 11/30/2026,1.0.0.0
[SourceDisksNames]
1 = Disk
[SourceDisksFiles]
lamp.sys = 1
[DefaultInstall.NTamd64]
CopyFiles = @lamp.sys
[DefaultInstall.NTamd64.Services]
AddService = lamp,, Lamp_Service
[Lamp_Service]
ServiceType = 2
StartType = 3
ErrorControl = 1
ServiceBinary = %13%\\lamp.sys
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("LAMP.sys", "lamp.cat"):
        (folder / name).write_bytes(b"x")
    return folder


def found(folder: Path, text: str, service: str = "lamp") -> list[tuple[str, str]]:
    (folder / "lamp.inf").write_text(text)
    findings = check_inf(folder / "lamp.inf", take_package(folder / "lamp.inf").files, service)
    return [(one.rule, one.text) for one in findings]


@pytest.mark.parametrize("text", [GOOD, PRIMITIVE])
def test_a_right_inf_has_no_finding(folder: Path, text: str) -> None:
    assert found(folder, text) == []


def test_a_right_inf_in_utf_16_has_no_finding(folder: Path) -> None:
    (folder / "lamp.inf").write_text(GOOD, encoding="utf-16")
    assert check_inf(folder / "lamp.inf", take_package(folder / "lamp.inf").files, "lamp") == []


@pytest.mark.parametrize(
    ("old", "new", "rule", "said"),
    [
        ('"$WINDOWS NT$"', '"$DOS$"', "inf-version", "lamp.inf:3: Signature is missing or unknown"),
        ("[Version]", "[Versions]", "inf-version", "lamp.inf: there is no section [Version]"),
        ("CatalogFile", "Catalogue", "inf-catalogue", "lamp.inf:2: [Version] has no CatalogFile"),
        ("lamp.cat", "other.cat", "inf-catalogue", "lamp.inf:7: the catalogue other.cat is not beside"),
        ("Provider ", "Provides ", "inf-directive", "lamp.inf:2: [Version] has no Provider"),
        ("DriverVer ", "DriverV ", "inf-directive", "lamp.inf:2: [Version] has no DriverVer"),
        ("11/30/2026", "30.11.2026", "inf-directive", "lamp.inf:8: DriverVer has no date: 30.11.2026"),
        (
            "NTamd64.10.0...16299,",
            "",
            "inf-platform",
            "lamp.inf:21: models Lamps are for ntarm64, not for x64",
        ),
        (",NTamd64.10.0...16299,NTarm64", "", "inf-platform", "lamp.inf:21: models Lamps are for x86"),
        ("[Manufacturer]", "[Made]", "inf-platform", "lamp.inf: it installs nothing"),
        ("[Lamps.NTamd64", "[Lamp.NTamd64", "inf-platform", "lamp.inf:21: Manufacturer names the section"),
        (
            "= Lamp_Install,",
            "= Lamp_Instal,",
            "inf-section",
            "lamp.inf:24: the model %Lamp% names the section",
        ),
        (
            "[Lamp_Files]",
            "[Lamp_File]",
            "inf-section",
            "lamp.inf:30: CopyFiles names the section [Lamp_Files]",
        ),
        ("[Lamp_Registry]", "[Reg]", "inf-section", "lamp.inf:31: AddReg names the section [Lamp_Registry]"),
        (
            "[Lamp_Service]",
            "[Serv]",
            "inf-section",
            "lamp.inf:40: AddService names the section [Lamp_Service]",
        ),
        ("lamp.sys = 1", "lamp.sys = 2", "inf-section", "lamp.inf:18: [SourceDisksNames] has no disk 2"),
        ("lamp.sys = 1", "", "inf-section", "lamp.inf:34: the file lamp.sys is not in [SourceDisksFiles]"),
        (
            "\nlamp.sys\n",
            "\nlamp.sys\nlamp.dll\n",
            "inf-file",
            "lamp.inf:35: the file lamp.dll is not in the",
        ),
        ("ServiceBinary", "Binary", "inf-service", "lamp.inf:42: the service section [Lamp_Service] has no"),
        ("13%\\lamp.sys", "13%\\lam.sys", "inf-service", "lamp.inf:46: ServiceBinary names lam.sys, which"),
        (
            "AddService = lamp",
            "AddService = bulb",
            "inf-service",
            "lamp.inf: it installs the service bulb, and",
        ),
        ('Disk  = "Disk"', "", "inf-string", "lamp.inf:15: [Strings] has no Disk"),
    ],
)
def test_a_mistake_is_found_at_its_line_with_the_remedy(
    folder: Path, old: str, new: str, rule: str, said: str
) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    findings = found(folder, text)
    assert [one for one in findings if one[0] == rule and one[1].startswith(said)], findings
    assert all(". " in text for _, text in findings), "a remedy follows"
    assert {one for one, _ in findings} <= set(SEVERITY)


@pytest.mark.parametrize(
    "text",
    [
        "[Manufacturer]\n" + "a = M,NTamd64\n" * 20000 + "[M.NTamd64]\n" + "d = I\n" * 20000,
        "[Manufacturer]\na = M,NTamd64\n[M.NTamd64]\nd = I\n[I]\n"
        + "CopyFiles = F\n" * 30000
        + "[F]\n"
        + "x\n" * 90000,
        "[Strings]\na = " + "b" * 500_000 + "\n[Version]\nSignature = " + "%a%" * 100_000,
        "[S]\n" + "ServiceBinary = x.sys\n" * 20000 + "[X]\n" + "AddService = a,,S\n" * 20000,
        "[Version]\n" + "\\\n" * 200_000,
        "[Version]\nSignature = " + '"' * 500_000 + "%" * 500_000,
        "[" * 1_000_000,
        "x" * 2_000_000,
    ],
)
def test_a_hostile_inf_takes_neither_long_nor_many_lines(folder: Path, text: str) -> None:
    started = time.process_time()
    assert 0 < len(found(folder, text)) <= FINDINGS_LIMIT
    assert time.process_time() - started < 10
