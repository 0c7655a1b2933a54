"""What docs/own-driver.md shows of projects and sources, run as a reader would; and other folders."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.errors import BuildError, ConfigurationError
from harness.journal import Journal
from harness.project import config
from harness.run.plan import make_plan
from harness.toolchain.builds import build_drivers
from harness.toolchain.rules import SEVERITY
from tests import documented
from tests.fakes.tiny_driver import build_foreign_driver
from tests.unit.toolchain.clang.wdk_code import ENTRY, PLAIN, UNLOAD

DOCUMENT = documented.ROOT / "docs" / "own-driver.md"
SECTION = "## A Visual Studio project"
PROJECT = """<Project xmlns="http://schemas.microsoft.com/developer/msbuild/2003">
  <ItemGroup>
    <ProjectConfiguration Include="Debug|x64"/>
    <ProjectConfiguration Include="Release|x64"/>
  </ItemGroup>
  <PropertyGroup><ConfigurationType>Driver</ConfigurationType></PropertyGroup>
  <ItemGroup><ClCompile Include="Echo.c"/></ItemGroup>
</Project>
"""

INF = """[Version]
Signature = "$WINDOWS NT$"
[DefaultInstall.NTamd64.Services]
AddService = vendorsvc, 0x2, vendor_service
[vendor_service]
ServiceType = 1
StartType = 3
ServiceBinary = %12%\\vendor.sys
"""


def build(folder: Path, toml: str = '[driver]\nname = "t"\n') -> tuple[Path, list[str]]:
    (folder / "winvm.toml").write_text(toml)
    journal, notes = Journal(), []
    journal.listen(lambda event: notes.append(str(event)))
    return build_drivers(config.load(folder / "winvm.toml"), None, journal)["release"], notes


def test_the_walk_through_of_a_project(tmp_path: Path) -> None:
    project, _, _ = documented.blocks(DOCUMENT, "toml", SECTION)
    (commands,) = documented.blocks(DOCUMENT, "sh", SECTION)
    (tmp_path / "echo.vcxproj").write_text(PROJECT)
    (tmp_path / "echo.c").write_text(PLAIN)
    (tmp_path / "winvm.toml").write_text(project)
    said = documented.shell(commands, tmp_path, tmp_path / "home")
    assert "Release: " in said
    assert "Debug: " in said
    database = json.loads((tmp_path / "compile_commands.json").read_text())
    assert [Path(entry["file"]).name for entry in database] == ["echo.c"]
    assert (tmp_path / ".clangd").read_text().startswith("# Written by winvm build")


def test_a_source_that_the_project_names_and_the_folder_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "echo.vcxproj").write_text(PROJECT)
    with pytest.raises(BuildError, match=r"names sources that are not there: \S+\.c\.") as raised:
        build(tmp_path)
    assert "correct the project" in raised.value.remedy


@pytest.mark.parametrize(
    ("section", "language", "file"),
    [("## A CMake project", "cmake", "CMakeLists.txt"), ("## A Meson project", "meson", "meson.build")],
)
def test_the_walk_through_of_another_build_system(
    tmp_path: Path, section: str, language: str, file: str
) -> None:
    (lists,) = documented.blocks(DOCUMENT, language, section)
    (commands,) = documented.blocks(DOCUMENT, "sh", section)
    (shown,) = documented.blocks(DOCUMENT, "toml", section)
    (tmp_path / file).write_text(lists)
    (tmp_path / "lamp.c").write_text(PLAIN)
    assert "lamp.sys" in documented.shell(commands, tmp_path, tmp_path / "home")
    written = config.load(tmp_path / "winvm.toml").driver
    (tmp_path / "shown.toml").write_text(shown)
    documented_driver = config.load(tmp_path / "shown.toml").driver
    assert (written.name, getattr(written, language)) == ("lamp", ".")
    assert documented_driver == written
    (entry,) = json.loads((tmp_path / "compile_commands.json").read_text())
    assert (Path(entry["arguments"][0]).name, Path(entry["file"]).name) == ("clang-19", "lamp.c")
    subprocess.run(
        [*entry["arguments"], "-fsyntax-only"], cwd=entry["directory"], check=True, capture_output=True
    )
    assert (tmp_path / ".clangd").is_file()
    (tmp_path / "compile_commands.json").write_text("[]")
    documented.shell("winvm build", tmp_path, tmp_path / "home")
    assert (tmp_path / "compile_commands.json").read_text() == "[]", "the user's own"


def test_the_walk_through_of_a_prebuilt_driver(tmp_path: Path) -> None:
    section = "## A driver that is built elsewhere"
    (commands,) = documented.blocks(DOCUMENT, "sh", section)
    alone, package = documented.blocks(DOCUMENT, "toml", section)
    place = tmp_path / "x64" / "Release" / "vendor"
    place.mkdir(parents=True)
    build_foreign_driver(place)
    (place / "tiny.sys").rename(place / "vendor.sys")
    for left in ("tiny.c", "tiny.o"):
        (place / left).unlink(missing_ok=True)
    (place / "vendor.inf").write_text(INF)
    assert "vendor.sys" in documented.shell(commands, tmp_path, tmp_path / "home")
    written = config.load(tmp_path / "winvm.toml").driver
    assert (written.name, written.prebuilt) == ("vendorsvc", "x64/Release/vendor/vendor.sys")
    for shown in (alone, package):
        (tmp_path / "shown.toml").write_text(shown)
        assert config.load(tmp_path / "shown.toml").driver.builds == ("Release", "Debug")


def test_the_listed_sources(tmp_path: Path) -> None:
    listed = documented.blocks(DOCUMENT, "toml", SECTION)[1]
    for name in ("src", "shared", "include"):
        (tmp_path / name).mkdir()
    (tmp_path / "include" / "echo.h").write_text("int Limit(void);\n")
    (tmp_path / "src" / "echo.c").write_text(
        '#include "echo.h"\n' + PLAIN.replace("(void)p;", "(void)p; Limit();")
    )
    (tmp_path / "shared" / "limit.c").write_text(
        '#include "echo.h"\nint Limit(void) { return ECHO_LIMIT; }\n'
    )
    assert build(tmp_path, listed)[0].name == "echo.sys"


def test_every_rule_is_documented() -> None:
    text = DOCUMENT.read_text()
    assert [rule for rule in SEVERITY if f"`{rule}`" not in text] == []


def test_a_folder_of_sources_needs_no_key(tmp_path: Path) -> None:
    """No driver folder, no Makefile, no INIT or PAGE section: it builds, and the sections are noted."""
    (tmp_path / "t.c").write_text(PLAIN)
    driver, notes = build(tmp_path)
    assert driver.is_file()
    assert any("no INIT section" in note for note in notes)
    assert any("no code in a PAGE section" in note for note in notes)


def test_a_driver_without_unload_is_one(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(
        "#include <ntddk.h>\n" + ENTRY.replace("d->DriverUnload = Unload;", "(void)d;")
    )
    build(tmp_path)


def test_a_makefile_in_a_path_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    (folder / "driver").mkdir(parents=True)
    (folder / "driver" / "Makefile").write_text(
        "all: $(OUT)/t.sys\n$(OUT)/t.sys: t.c\n"
        "\tclang-19 --target=x86_64-pc-windows-msvc -ffreestanding -c t.c -o $(OUT)/t.o\n"
        "\tcd $(OUT) && lld-link-19 /driver /subsystem:native /entry:DriverEntry /nodefaultlib /release \\\n"
        "\t  /out:t.sys t.o\n"
    )
    (folder / "driver" / "t.c").write_text(
        "long DriverEntry(void *a, void *b) { (void)a; (void)b; return 0; }\n"
    )
    assert build(folder)[0].is_file()


def test_an_export_of_windows_10_is_known(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(
        "#include <ntddk.h>\n"
        + UNLOAD
        + ENTRY.replace("(void)p;", "(void)p; ExFreePool(ExAllocatePool2(64, 8, 1));")
    )
    build(tmp_path)


def test_a_routine_that_windows_does_not_export_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(
        "#include <ntddk.h>\nNTSTATUS IoInventedByMe(void);\n"
        + UNLOAD
        + ENTRY.replace("return 0;", "return IoInventedByMe();")
    )
    with pytest.raises(BuildError, match=r"t\.sys does not link") as caught:
        build(tmp_path)
    assert "undefined symbol: IoInventedByMe" in caught.value.detail


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('sources = ["a.c"]\nproject = "a.sln"', "sources and project each say how"),
        ('project = "a.sln"\ndefines = ["A"]', "defines goes with sources, not with project"),
        ('build = ["make"]\nsources = ["a.c"]', "build and sources each say how"),
    ],
)
def test_keys_that_contradict(tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "winvm.toml").write_text(f'[driver]\nname = "t"\n{keys}\n')
    with pytest.raises(ConfigurationError, match=message):
        config.load(tmp_path / "winvm.toml")


def test_the_deployed_things_are_read_and_collected(tmp_path: Path) -> None:
    section = "## Test programs, other drivers, registry values"
    (program,) = documented.blocks(DOCUMENT, "python", section)
    files, service, drivers = documented.blocks(DOCUMENT, "toml", section)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "programs.py").write_text(program)
    shown = (files + drivers).replace("[deploy]", "", 1)  # both belong to one table of a file
    (tmp_path / "winvm.toml").write_text(
        f'[scenarios]\nfolders = ["scenarios"]\n{service}\n[deploy]\n{shown}'
    )
    loaded = config.load(tmp_path / "winvm.toml")
    assert [(other.name, other.load) for other in loaded.deploy.drivers] == [
        ("socket", "before"),
        ("filter", "after"),
    ]
    assert loaded.deploy.drivers[1].service.parameters == {"Depth": 3}
    assert loaded.service.parameters[r"Instances\DefaultInstance"] == "lamp"
    names = {scenario.name: scenario.deadline_s for scenario in make_plan(loaded, None).scenarios}
    assert names == {"programs.lamp_test": 120, "programs.dimmer_test": 30}
