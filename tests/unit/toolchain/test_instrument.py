"""Instrumented builds of drivers that are built in each of the ways, with the real compiler and linker."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pefile
import pytest

from harness.coverage.image import COUNTERS, coverage_image
from harness.errors import BuildError, ConfigurationError
from harness.journal import Journal
from harness.project import config
from harness.toolchain.builds import build_drivers
from harness.toolchain.clang.additions import Additions
from harness.toolchain.instrument import Instrument, additions, write_tools
from tests.unit.toolchain.clang.wdk_code import PLAIN

MINGW = "/usr/x86_64-w64-mingw32"
OPTIONS = (
    f"--target=x86_64-w64-windows-gnu -ffreestanding -isystem {MINGW}/include -isystem {MINGW}/include/ddk"
)
LINK = "/driver /subsystem:native /nodefaultlib /machine:x64 /release"
MAKEFILE = f"""
$(OUT)/t.sys: t.c
\tclang-19 {OPTIONS} -w -c t.c -o $(OUT)/t.o
\tlld-link-19 {LINK} /entry:Begin /out:$@ $(OUT)/t.o {MINGW}/lib/libntoskrnl.a
"""
CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(t C CXX)
find_package(WDK REQUIRED)
wdk_add_driver(t t.cpp)
"""


def build(folder: Path, toml: str, *, coverage: bool = True) -> Path:
    (folder / "winvm.toml").write_text(f'[driver]\nname = "t"\n{toml}\n')
    loaded = config.load(folder / "winvm.toml").with_changes(coverage=coverage)
    return build_drivers(loaded, None, Journal())["release"]


def sections(driver: Path) -> set[str]:
    with pefile.PE(str(driver), fast_load=True) as image:
        return {section.Name.rstrip(b"\0").decode() for section in image.sections}


def test_sources_that_winvm_compiles(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(PLAIN)
    plain = build(tmp_path, 'sources = ["t.c"]', coverage=False)
    watched = build(tmp_path, 'sources = ["t.c"]')
    assert COUNTERS not in sections(plain)
    assert coverage_image(watched).count > 2
    assert plain.parent != watched.parent
    assert plain == build(tmp_path, 'sources = ["t.c"]', coverage=False)


def test_a_build_command_that_calls_the_tools_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(PLAIN.replace("NTSTATUS DriverEntry", "NTSTATUS Begin"))
    (tmp_path / "Makefile").write_text(MAKEFILE)
    toml = 'folder = "."\nbuild = ["make", "OUT={out}"]'
    watched = build(tmp_path, toml)
    assert coverage_image(watched).count > 2
    assert COUNTERS not in sections(build(tmp_path, toml, coverage=False))


def test_a_cmake_project_in_cxx(tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    (tmp_path / "t.cpp").write_text('extern "C" {\n' + PLAIN + "}\n")
    assert coverage_image(build(tmp_path, 'cmake = "."')).count > 2


def test_a_changed_instrument_makes_the_build_anew(tmp_path: Path) -> None:
    output = tmp_path / "out"
    chosen = frozenset({Instrument.COVERAGE})
    first = additions(chosen, output)
    kept = output / "kept.o"
    kept.touch()
    assert additions(chosen, output) == first
    assert kept.exists()
    (output / "instrument" / "made-of").write_text("another")
    assert additions(chosen, output) == first
    assert not kept.exists()
    assert additions(frozenset(), output) == Additions()


def test_a_build_without_clang_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(PLAIN)
    clang = shutil.which("clang-19")
    assert clang
    (tmp_path / "Makefile").write_text(MAKEFILE.replace("clang-19", clang).replace(":Begin", ":DriverEntry"))
    driver = build(tmp_path, 'folder = "."\nbuild = ["make", "OUT={out}"]')
    with pytest.raises(BuildError, match="has no coverage counters"):
        coverage_image(driver)


def test_the_tools_leave_other_links_alone(tmp_path: Path) -> None:
    tools = write_tools(Additions(("-DADDED",), (tmp_path / "a b.o",)), tmp_path / "tools")
    real = tmp_path / "real"
    real.mkdir()
    for name in ("lld-link", "clang"):
        (real / name).write_text('#!/bin/sh\nfor word do echo "<$word>"; done\n')
        (real / name).chmod(0o755)
    (tmp_path / "answers.rsp").write_text('/driver "/entry:Begin"')

    def said(*argv: str) -> list[str]:
        path = {"PATH": f"{tools}:{real}:/usr/bin:/bin"}
        done = subprocess.run(argv, cwd=tmp_path, env=path, capture_output=True, text=True, check=True)
        return [line.strip("<>") for line in done.stdout.splitlines()]

    assert said("lld-link", "/dll", "x y.o") == ["/dll", "x y.o"]
    assert said("lld-link", "/DRIVER", "/entry:Own", "ntoskrnl.lib") == [
        f"{tmp_path}/a b.o",  # before the libraries, whose routines it may stand for
        "/DRIVER",
        "/entry:Own",
        "ntoskrnl.lib",
        "/entry:WinvmInstrumentedEntry",
        "/alternatename:WinvmOwnEntry=Own",
    ]
    assert said("lld-link", "@answers.rsp")[-1] == "/alternatename:WinvmOwnEntry=Begin"
    assert said("lld-link", "-subsystem:native,10.00")[-1] == "/alternatename:WinvmOwnEntry=DriverEntry"
    assert said("clang", "-c", "x.c") == ["-c", "x.c", "-DADDED"]
    assert said("clang", "--version") == ["--version"]
    missing = subprocess.run([tools / "lld-link"], env={"PATH": str(tools)}, capture_output=True, check=False)
    assert missing.returncode == 127


def test_instruments_are_for_the_driver_under_test(tmp_path: Path) -> None:
    (tmp_path / "winvm.toml").write_text('[[deploy.drivers]]\nname = "other"\nguard = true\n')
    with pytest.raises(ConfigurationError, match="are for the driver under test"):
        config.load(tmp_path / "winvm.toml")


def test_a_guided_build_counts_edges_and_traces_comparisons(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(PLAIN)
    (tmp_path / "winvm.toml").write_text('[driver]\nname = "t"\nsources = ["t.c"]\n')
    plain = build(tmp_path, 'sources = ["t.c"]', coverage=False)
    loaded = config.load(tmp_path / "winvm.toml").with_changes(guard=True, guidance=True)
    guided = build_drivers(loaded, None, Journal())["release"]
    assert ".SCOV" in sections(guided) - sections(plain)
    assert guided.parent.parent.name == "guard+guidance"
