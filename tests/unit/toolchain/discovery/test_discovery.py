"""What is read of an existing driver: its build, its devices, its control codes, its INF."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.project import config
from harness.run.plan import make_plan
from harness.toolchain.clang.compiler import compile_driver
from harness.toolchain.clang.sources import listed_sources
from harness.toolchain.discovery.examine import examine
from harness.toolchain.discovery.names import wide_literals
from harness.toolchain.discovery.project import cmake_drivers
from harness.toolchain.discovery.written import begin_project, summary
from harness.toolchain.inf.services import services_of
from tests.unit.toolchain.clang.wdk_code import PLAIN

PUBLIC_HEADER = r"""
#define LAMP_TYPE 0x8321
#define LAMP(Function, Method) CTL_CODE(LAMP_TYPE, Function, Method, FILE_ANY_ACCESS)
#define LAMP_ON LAMP(BASE + 1, METHOD_BUFFERED)
#define LAMP_OFF ((ULONG)LAMP(BASE + 2, METHOD_NEITHER))
#define LAMP_ALIAS LAMP_ON
#define LAMP_NAME L"Lamp"
#define LAMP_UNUSED L"\\DosDevices\\NeverMade"
"""
DRIVER = r"""
#include <ntddk.h>
enum { BASE = 0x800 };
#include "public.h"
enum { LAMP_DIM = CTL_CODE(LAMP_TYPE, 0x900, METHOD_OUT_DIRECT, FILE_READ_ACCESS) };
DRIVER_INITIALIZE DriverEntry;
NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    UNICODE_STRING device = RTL_CONSTANT_STRING(L"\\Device\\LampObject");
    UNICODE_STRING link, disk;
    PDEVICE_OBJECT made;
    (void)Path;
    RtlInitUnicodeString(&link, L"\\??\\" LAMP_NAME);
    RtlInitUnicodeString(&disk, L"\\??\\C:\\lamp.log");
    IoCreateDevice(Driver, 0, &device, FILE_DEVICE_UNKNOWN, 0, FALSE, &made);
    return IoCreateSymbolicLink(&link, &device) ? LAMP_ON : 0;
}
"""
PROJECT = """<Project xmlns="http://schemas.microsoft.com/developer/msbuild/2003">
  <ItemGroup>
    <ProjectConfiguration Include="Debug|x64"/><ProjectConfiguration Include="Release Signed|x64"/>
    <ProjectConfiguration Include="Release|x64"/>
  </ItemGroup>
  <PropertyGroup><ConfigurationType>{kind}</ConfigurationType></PropertyGroup>
  <PropertyGroup><TargetName>{target}</TargetName></PropertyGroup>
  <ItemGroup><ClCompile Include="{source}"/></ItemGroup>
</Project>
"""
INF = """; a comment
[Version]
Signature="$WINDOWS NT$"
[Lamp.Services]
AddService = %ServiceName%, 0x00000002, Lamp.Service
[Lamp.Service]
ServiceType = 1 ; SERVICE_KERNEL_DRIVER
StartType = 0x3
ServiceBinary = %12%\\lamp.sys
[Strings]
ServiceName = "LampService"
"""


@pytest.fixture
def lamp(tmp_path: Path) -> Path:
    """A folder as Visual Studio leaves it: a driver, its header, its INF, a test program."""
    folder = tmp_path / "lamps"
    (folder / "sys").mkdir(parents=True)
    (folder / "test").mkdir()
    (folder / "sys" / "Lamp.c").write_text(DRIVER)
    (folder / "sys" / "public.h").write_text(PUBLIC_HEADER)
    (folder / "sys" / "lamp.vcxproj").write_text(
        PROJECT.format(kind="Driver", target="lamp", source="lamp.c")
    )
    (folder / "sys" / "lamp.inf").write_text(INF, encoding="utf-16")
    (folder / "test" / "lamptest.vcxproj").write_text(
        PROJECT.format(kind="Application", target="lamptest", source="main.cpp")
    )
    return folder


def test_a_device_of_windows_is_not_the_filters_own(tmp_path: Path) -> None:
    (tmp_path / "filter.c").write_text(
        "#include <ntddk.h>\nDRIVER_INITIALIZE DriverEntry;\n"
        "NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {\n"
        '    UNICODE_STRING below = RTL_CONSTANT_STRING(L"\\\\Device\\\\KeyboardClass0");\n'
        '    UNICODE_STRING own = RTL_CONSTANT_STRING(L"\\\\Device\\\\Tcpfilter");\n'
        "    PDEVICE_OBJECT made;\n    (void)Path;\n    (void)below;\n"
        "    return IoCreateDevice(Driver, 0, &own, FILE_DEVICE_UNKNOWN, 0, FALSE, &made);\n}\n"
    )
    assert examine(tmp_path).names.devices == ("Tcpfilter",)


def test_names_and_codes_are_what_the_compiler_sees(lamp: Path) -> None:
    found = examine(lamp)
    assert found.trouble == ""
    assert found.names.links == ("Lamp",)
    assert found.names.devices == ("LampObject",)
    assert found.codes == {
        "LAMP_ON": 0x83212004,
        "LAMP_OFF": 0x8321200B,
        "LAMP_ALIAS": 0x83212004,
        "LAMP_DIM": 0x83216402,
    }


def test_a_configuration_that_compiles_is_taken(lamp: Path) -> None:
    """Many projects are kept up in one configuration alone; this one has its include folder in Debug only."""
    project = lamp / "sys" / "lamp.vcxproj"
    (lamp / "inc").mkdir()
    (lamp / "sys" / "public.h").rename(lamp / "inc" / "public.h")
    condition = "Condition=\"'$(Configuration)'=='Debug'\""
    path = f"<PropertyGroup {condition}><IncludePath>../inc</IncludePath></PropertyGroup>"
    project.write_text(
        project.read_text().replace("  <ItemGroup><ClCompile", f"  {path}\n  <ItemGroup><ClCompile")
    )
    found = examine(lamp)
    assert found.driver is not None
    assert (found.trouble, found.driver.settings["builds"]) == ("", ["Debug"])
    assert found.codes["LAMP_ON"] == 0x83212004
    assert found.folder.notes[-1].startswith("configuration Release does not compile, Debug is taken: ")
    (lamp / "inc" / "public.h").unlink()
    assert examine(lamp).trouble
    assert examine(lamp).driver == replace(
        found.driver, settings={**found.driver.settings, "builds": ["Release"]}
    )


def test_codes_of_a_cpp_driver(tmp_path: Path) -> None:
    """There, a value that fits an int has another type than one that does not."""
    (tmp_path / "codes.hpp").write_text(
        "#define LOW CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)\n"
        "#define HIGH CTL_CODE(0x8000, 0x800, METHOD_NEITHER, FILE_ANY_ACCESS)\n"
    )
    (tmp_path / "lamp.cpp").write_text(
        '#include <ntddk.h>\n#include "codes.hpp"\nextern "C" DRIVER_INITIALIZE DriverEntry;\n'
        "NTSTATUS DriverEntry(PDRIVER_OBJECT, PUNICODE_STRING) { return STATUS_SUCCESS; }\n"
    )
    assert examine(tmp_path).codes == {"LOW": 0x222000, "HIGH": 0x80002003}
    (tmp_path / "codes.hpp").write_text(
        "#define LOW CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)\n"
    )
    assert examine(tmp_path).codes == {"LOW": 0x222004}


def test_init_writes_a_project_that_builds_and_is_collected(lamp: Path) -> None:
    begin_project(lamp)
    loaded = config.load(lamp / "winvm.toml")
    assert loaded.driver.name == "LampService"
    assert loaded.driver.project == "sys/lamp.vcxproj"
    assert loaded.driver.builds == ("Release",)
    names = {scenario.name for scenario in make_plan(loaded, None).scenarios}
    assert {"example.driver_runs", "example.opens[Lamp]"} < names
    assert "example.survives_empty_request[LAMP_DIM]" in names
    text = (lamp / "winvm.toml").read_text()
    assert "# INF: sys/lamp.inf." in text
    assert "# Program, perhaps a test: test/lamptest.vcxproj." in text
    command = [sys.executable, "-m", "harness", "build"]
    done = subprocess.run(command, cwd=lamp, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_init_keeps_what_exists(lamp: Path) -> None:
    (lamp / "scenarios").mkdir()
    for path in (lamp / "winvm.toml", lamp / "scenarios" / "example.py"):
        path.write_text("# mine\n")
    written, _ = begin_project(lamp)
    assert set(written.kept) == {lamp / "winvm.toml", lamp / "scenarios" / "example.py"}
    assert (lamp / "winvm.toml").read_text() == "# mine\n"


def test_codes_are_found_although_the_driver_does_not_compile(lamp: Path) -> None:
    source = lamp / "sys" / "Lamp.c"
    source.write_text(source.read_text() + "#include <wdf.h>\nWDFDRIVER Missing;\n")
    found = examine(lamp)
    assert "'wdf.h' file not found" in found.trouble
    assert found.codes["LAMP_ON"] == 0x83212004
    assert found.names.links == ("Lamp",)


def test_a_folder_of_sources_and_one_with_a_driver_alone(lamp: Path, tmp_path: Path) -> None:
    for project in lamp.rglob("*.vcxproj"):
        project.unlink()
    found = examine(lamp)
    assert found.driver is not None
    assert found.driver.settings == {"sources": ["sys"]}
    built = compile_driver(listed_sources(lamp, ["sys"], "release"), "lamp", lamp, tmp_path / "out").driver
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "lamp.sys").write_bytes(built.read_bytes())
    (alone / "lamp.inf").write_text(INF)
    written, examined = begin_project(alone)
    assert examined.names.links == ("Lamp",)
    assert not examined.codes
    assert config.load(alone / "winvm.toml").driver.prebuilt == "lamp.sys"
    assert alone / "scenarios" / "example.py" in written.new


DDK_SOURCES = r"""
# as build.exe reads it
!IF 0
!ENDIF
TARGETNAME=lamp
TARGETTYPE=DRIVER
C_DEFINES=$(C_DEFINES) -DBASE=0x800 /DUNUSED
INCLUDES=..\Inc;$(DDK_INC_PATH);c:\elsewhere
TARGETLIBS=$(DDK_LIB_PATH)\wdmsec.lib $(DDK_LIB_PATH)\ntstrsafe.lib
SOURCES=LAMP.c \
        missing.c \
        lamp.rc
"""


def test_the_file_sources_of_an_older_kit(tmp_path: Path) -> None:
    for name in ("sys", "inc", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "sys" / "sources").write_text(DDK_SOURCES)
    (tmp_path / "sys" / "makefile").write_text("!INCLUDE $(NTMAKEENV)\\makefile.def\n")
    (tmp_path / "sys" / "lamp.c").write_text(DRIVER.replace("enum { BASE = 0x800 };", ""))
    (tmp_path / "sys" / "not_listed.c").write_text("#error not listed\n")
    (tmp_path / "sys" / "lamp.rc").write_text("1 RCDATA { 1 }\n")
    (tmp_path / "inc" / "public.h").write_text(PUBLIC_HEADER)
    (tmp_path / "other" / "SOURCES").write_text("TARGETNAME=tool\nTARGETTYPE=PROGRAM\nSOURCES=tool.c\n")
    found = examine(tmp_path)
    assert found.driver is not None
    assert (found.driver.name, found.trouble) == ("lamp", "")
    assert found.driver.settings == {
        "sources": ["sys/lamp.c", "sys/lamp.rc"],
        "include": ["inc", "sys"],
        "defines": ["BASE=0x800", "UNUSED"],
        "libraries": ["wdmsec", "ntstrsafe"],
    }
    assert found.codes["LAMP_ON"] == 0x83212004
    assert len(found.folder.drivers) == 1
    begin_project(tmp_path)
    loaded = config.load(tmp_path / "winvm.toml").driver
    assert (loaded.name, loaded.defines, loaded.include) == (
        "lamp",
        ("BASE=0x800", "UNUSED"),
        (Path("inc"), Path("sys")),
    )
    command = [sys.executable, "-m", "harness", "build"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_of_several_drivers_is_chosen_by_its_name(lamp: Path) -> None:
    (lamp / "other").mkdir()
    (lamp / "other" / "dimmer.c").write_text(PLAIN)
    (lamp / "other" / "dimmer.vcxproj").write_text(
        PROJECT.format(kind="Driver", target="dimmer", source="dimmer.c")
    )
    begin_project(lamp, "dimmer")
    loaded = config.load(lamp / "winvm.toml")
    assert (loaded.driver.name, loaded.driver.project) == ("dimmer", "other/dimmer.vcxproj")
    assert "# Also here: driver lamp (project sys/lamp.vcxproj)." in (lamp / "winvm.toml").read_text()


def test_services_of_an_inf(tmp_path: Path) -> None:
    path = tmp_path / "lamp.inf"
    path.write_text(INF)
    (service,) = services_of(path)
    assert (service.name, service.binary, service.start) == ("LampService", "lamp.sys", 3)
    path.write_bytes(b"\xff\xfe[\x00" + bytes(range(256)) * 10)
    assert services_of(path) == []
    assert services_of(tmp_path / "missing.inf") == []


@pytest.mark.parametrize(
    ("text", "literals"),
    [
        (r'L"\\??\\" L"A"', [r"\??\A"]),
        (r'f(L"\\Device\\" "B", L"c\x41")', ["\\Device\\B", "cA"]),
        (r'"narrow" L""', [""]),
        (r'L"open', []),
    ],
)
def test_wide_literals(text: str, literals: list[str]) -> None:
    assert wide_literals(text) == literals


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("project(Lamp C)\nwdk_add_driver(${PROJECT_NAME} lamp.c)", ["Lamp"]),
        ("WDK_ADD_DRIVER( dimmer\n  WINVER 0x0A00 a.c)\nwdk_add_driver(b b.c)", ["dimmer", "b"]),
        ("add_executable(x a.c)", []),
    ],
)
def test_drivers_of_cmake(text: str, names: list[str]) -> None:
    assert cmake_drivers(text) == names


PLUG_AND_PLAY = """\
#include <ntddk.h>
DRIVER_INITIALIZE DriverEntry;
static NTSTATUS Found(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Below) {
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\\\Device\\\\Shy");
    UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\\\??\\\\Shy");
    PDEVICE_OBJECT made;
    if (!Below) { return STATUS_NO_SUCH_DEVICE; }
    NTSTATUS status = IoCreateDevice(Driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &made);
    return NT_SUCCESS(status) ? IoCreateSymbolicLink(&link, &name) : status;
}
NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    (void)Path;
    Driver->DriverExtension->AddDevice = Found;
    return BODY;
}
"""
CONTROL = "IoCreateDevice(Driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &(PDEVICE_OBJECT){0})"


@pytest.mark.parametrize(("body", "waits"), [("STATUS_SUCCESS", True), (CONTROL, False)])
def test_a_device_that_plug_and_play_brings_is_asked_of_guests_with_it(
    tmp_path: Path, body: str, waits: bool
) -> None:
    (tmp_path / "shy.c").write_text(PLUG_AND_PLAY.replace("BODY", body))
    _, examined = begin_project(tmp_path)
    assert examined.trouble == ""
    assert examined.names.links == ("Shy",)
    assert examined.names.plug_and_play is waits
    written = (tmp_path / "scenarios" / "example.py").read_text()
    assert ('needs=("inf-package",)' in written) is waits
    compile(written, "example.py", "exec")
    assert any("AddDevice" in line for line in summary(examined)) is waits
