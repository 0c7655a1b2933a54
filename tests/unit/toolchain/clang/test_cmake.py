"""A CMake project for FindWDK: built with winvm's toolchain file and module, warnings of cl and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BuildError
from harness.project import config
from harness.toolchain.clang.cmake import build_cmake
from harness.toolchain.discovery.examine import examine
from harness.toolchain.discovery.written import begin_project
from harness.toolchain.inspect import inspect_driver
from harness.toolchain.sign import TestCertificate, sign
from tests.unit.toolchain.clang.wdk_code import PLAIN

PROJECT = """
cmake_minimum_required(VERSION 3.13)
project(lamps C CXX)
set(CMAKE_C_FLAGS "${CMAKE_C_FLAGS} /W4 /WX")
list(APPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}/cmake")
find_package(WDK REQUIRED)
wdk_add_library(bulb STATIC bulb.cpp)
wdk_add_driver(lamp WINVER 0x0A00 Lamp.c)
target_link_libraries(lamp bulb WDK::FLTMGR)
wdk_add_driver(broken broken.c)
"""
BULB = '#include <NTDDK.h>\nextern "C" ULONG Shine() { return _WIN32_WINNT; }\n'


@pytest.fixture
def lamps(tmp_path: Path) -> Path:
    folder = tmp_path / "lamps of mine"
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(PROJECT)
    (folder / "bulb.cpp").write_text(BULB)
    (folder / "Lamp.c").write_text(
        "unsigned long Shine(void);\n" + PLAIN.replace("(void)p;", "(void)p; Shine();")
    )
    (folder / "broken.c").write_text("#include <ntddk.h>\nint x = y;\n")
    return folder


def test_a_driver_and_its_library_are_built(lamps: Path, tmp_path: Path) -> None:
    driver = build_cmake(lamps, "lamp", "release", tmp_path / "out")
    assert driver == tmp_path / "out" / "lamp.sys"
    assert driver.with_suffix(".pdb").is_file()
    sign(driver, TestCertificate.ensure(tmp_path / "certificate"))
    assert not [note for note in inspect_driver(driver) if "section" not in note]
    signed = driver.stat().st_mtime_ns
    assert build_cmake(lamps, "lamp", "release", tmp_path / "out").stat().st_mtime_ns == signed


def test_functions_of_a_projects_own_module_are_left_out(lamps: Path, tmp_path: Path) -> None:
    (lamps / "cmake").mkdir()
    (lamps / "cmake" / "FindWDK.cmake").write_text(
        "function(wdk_add_driver target)\nendfunction()\n"
        "  macro( add_program target)\n  add_executable(${target} ${ARGN})\nendmacro()\n"
    )
    (lamps / "CMakeLists.txt").write_text(PROJECT + "add_program(client client.cpp)\n")
    assert build_cmake(lamps, "lamp", "release", tmp_path / "out").is_file()


def test_errors_are_the_compilers(lamps: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as failed:
        build_cmake(lamps, "broken", "release", tmp_path / "out")
    assert "use of undeclared identifier 'y'" in failed.value.detail
    with pytest.raises(BuildError):
        build_cmake(lamps, "missing", "release", tmp_path / "out")


def test_init_finds_the_drivers_of_a_cmake_project(lamps: Path) -> None:
    begin_project(lamps, "lamp")
    loaded = config.load(lamps / "winvm.toml")
    assert (loaded.driver.name, loaded.driver.cmake) == ("lamp", ".")
    assert "# Also here: driver broken (cmake .)." in (lamps / "winvm.toml").read_text()


def test_init_reads_names_and_codes_below_the_folder_of_the_cmake_lists(lamps: Path) -> None:
    """The driver's sources may lie anywhere below; what wdk_add_driver lists is not evaluated."""
    (lamps / "one" / "driver").mkdir(parents=True)
    (lamps / "one" / "driver" / "main.cpp").write_text(
        "#include <ntddk.h>\n#define SHINE CTL_CODE(0x22, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)\n"
        'extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING) {\n'
        '    UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\\\??\\\\Lamp"), name = link;\n'
        "    return d ? IoCreateSymbolicLink(&link, &name) : STATUS_SUCCESS;\n}\n"
    )
    (lamps / "Lamp.c").unlink()
    found = examine(lamps, "lamp")
    assert (found.names.links, found.codes) == (("Lamp",), {"SHINE": 0x222000})
