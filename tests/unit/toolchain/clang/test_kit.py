"""A WDK of the user's: found in each layout, its headers and libraries used. The kit here is synthetic."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pefile
import pytest

from harness.errors import BuildError
from harness.journal import Journal
from harness.project import config
from harness.toolchain.builds import build_drivers
from harness.toolchain.clang.kit import find_kit

HEADER = """
#pragma once
#include <BaseTypes.h>
#ifndef _MSC_VER
#error the headers of a WDK need a Visual C++
#endif
typedef struct _DRIVER_OBJECT *PDRIVER_OBJECT;
typedef struct _UNICODE_STRING *PUNICODE_STRING;
extern "C" NTSTATUS OnlyThisKitHasIt(PDRIVER_OBJECT);
"""
WDF = "#pragma once\n#include <ntddk.h>\n"
DRIVER = """
#include <NTDDK.H>
extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING) { return OnlyThisKitHasIt(Driver); }
"""


def library(path: Path, module: str, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    definition = path.with_suffix(".def")
    definition.write_text("\n".join([f"LIBRARY {module}", "EXPORTS", *names, ""]))
    command = ["llvm-dlltool-19", "-m", "i386:x86-64", "-d", str(definition), "-l", str(path)]
    subprocess.run(command, check=True)


def write_kit(root: Path, version: str = "10.0.26100.0") -> Path:
    include = root / "Include" / version
    for place, name, text in (
        ("km", "ntddk.h", HEADER),
        ("Shared", "basetypes.h", "#pragma once\ntypedef long NTSTATUS;\n"),
    ):
        (include / place).mkdir(parents=True, exist_ok=True)
        (include / place / name).write_text(text)
    library(
        root / "Lib" / version / "km" / "x64" / "NtosKrnl.lib", "ntoskrnl.exe", "DbgPrint", "OnlyThisKitHasIt"
    )
    library(root / "Lib" / version / "km" / "x64" / "fltMgr.lib", "fltmgr.sys", "FltRegisterFilter")
    wdf = root / "Include" / "wdf" / "kmdf" / "1.33"
    wdf.mkdir(parents=True, exist_ok=True)
    (wdf / "wdf.h").write_text(WDF)
    library(root / "Lib" / "wdf" / "kmdf" / "x64" / "1.33" / "WdfLdr.lib", "wdfldr.sys", "WdfVersionBind")
    return root


def project(folder: Path, kit: str, source: str = DRIVER, libraries: str = "") -> Path:
    (folder / "t.cpp").write_text(source)
    (folder / "winvm.toml").write_text(
        f'[driver]\nname = "t"\nsources = ["t.cpp"]\nwdk = "{kit}"\nlibraries = [{libraries}]\n'
        '[check]\nrules = { "unknown-export" = "note" }\n'
    )
    return folder / "winvm.toml"


@pytest.mark.parametrize("place", ["", "Program Files/Windows Kits/10", "Windows Kits/10", "c"])
def test_it_is_found_in_each_layout(tmp_path: Path, place: str) -> None:
    write_kit(tmp_path / place, "10.0.9600.0")
    write_kit(tmp_path / place)
    kit = find_kit(tmp_path)
    assert kit.version == "10.0.26100.0"
    assert [path.name for path in kit.includes] == ["km", "Shared", "1.33"]
    assert kit.library("FLTMGR.LIB") is not None
    assert kit.library("netio") is None


def test_a_driver_is_compiled_with_it_and_that_is_told(tmp_path: Path) -> None:
    write_kit(tmp_path / "kit")
    told: list[str] = []
    journal = Journal()
    journal.listen(lambda event: told.append(str(event.get("text", ""))))
    driver = build_drivers(config.load(project(tmp_path, "kit")), None, journal)["release"]
    assert "compiled with the WDK 10.0.26100.0 in kit" in told
    with pefile.PE(str(driver)) as image:
        (module,) = image.DIRECTORY_ENTRY_IMPORT
        assert {found.name for found in module.imports} == {b"OnlyThisKitHasIt"}
    assert driver.with_suffix(".pdb").is_file()


def test_a_framework_driver_begins_in_the_framework(tmp_path: Path) -> None:
    write_kit(tmp_path / "kit")
    source = "#include <wdf.h>\n" + DRIVER.replace("DriverEntry(", "FxDriverEntry(")
    driver = build_drivers(config.load(project(tmp_path, "kit", source)), None, Journal())["release"]
    with pefile.PE(str(driver)) as image:
        assert image.OPTIONAL_HEADER.AddressOfEntryPoint


def test_what_it_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="There is no WDK in"):
        build_drivers(config.load(project(tmp_path, "kit")), None, Journal())
    write_kit(tmp_path / "kit")
    named = config.load(project(tmp_path, "kit", libraries='"netio"'))
    with pytest.raises(BuildError, match=r"has no library netio\.lib"):
        build_drivers(named, None, Journal())
