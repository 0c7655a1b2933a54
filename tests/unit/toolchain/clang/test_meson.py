"""A Meson project: built with winvm's cross file, linked as a driver, libraries and subfolders and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BuildError
from harness.project import config
from harness.toolchain.clang.meson import build_meson
from harness.toolchain.discovery.written import begin_project
from harness.toolchain.inspect import inspect_driver
from harness.toolchain.sign import TestCertificate, sign
from tests.unit.toolchain.clang.wdk_code import PLAIN

PROJECT = """
project('lamps', 'c', 'cpp', default_options: ['warning_level=3', 'werror=true', 'c_std=c17'])
bulb = static_library('bulb', 'bulb.cpp', c_args: '-DNEVER')
subdir('sys')
executable('broken', 'broken.c', name_suffix: 'sys')
executable('client', 'client.c')
"""
DRIVER = """
executable('lamp', files('Lamp.c'), link_with: bulb, name_suffix : 'sys', link_args: ['-lfltmgr'])
"""


@pytest.fixture
def lamps(tmp_path: Path) -> Path:
    folder = tmp_path / "lamps of mine"
    (folder / "sys").mkdir(parents=True)
    (folder / "meson.build").write_text(PROJECT)
    (folder / "sys" / "meson.build").write_text(DRIVER)
    (folder / "bulb.cpp").write_text('#include <NTDDK.h>\nextern "C" ULONG Shine() { return DBG; }\n')
    (folder / "sys" / "Lamp.c").write_text(
        "unsigned long Shine(void);\n" + PLAIN.replace("(void)p;", "(void)p; Shine();")
    )
    (folder / "broken.c").write_text("#include <ntddk.h>\nint x = y;\n")
    (folder / "client.c").write_text("#error is not built\n")
    return folder


def test_a_driver_and_its_library_are_built(lamps: Path, tmp_path: Path) -> None:
    driver = build_meson(lamps, "lamp", "release", tmp_path / "out")
    assert driver == tmp_path / "out" / "lamp.sys"
    assert driver.with_suffix(".pdb").is_file()
    sign(driver, TestCertificate.ensure(tmp_path / "certificate"))
    assert not [note for note in inspect_driver(driver) if "section" not in note]
    signed = driver.stat().st_mtime_ns
    assert build_meson(lamps, "lamp", "release", tmp_path / "out").stat().st_mtime_ns == signed, "as it was"
    (lamps / "bulb.cpp").write_text('extern "C" unsigned long Shine() { return 42; }\n')
    changed = build_meson(lamps, "lamp", "release", tmp_path / "out")
    assert changed.stat().st_mtime_ns > signed
    release = changed.read_bytes()
    assert build_meson(lamps, "lamp", "debug", tmp_path / "out").read_bytes() != release, "set up anew"


def test_errors_are_the_compilers(lamps: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as failed:
        build_meson(lamps, "broken", "release", tmp_path / "out")
    assert "use of undeclared identifier 'y'" in failed.value.detail
    with pytest.raises(BuildError, match=r"makes no missing\.sys") as failed:
        build_meson(lamps, "missing", "release", tmp_path / "out")
    assert "name_suffix: 'sys'" in failed.value.remedy
    (lamps / "meson.build").write_text("project('lamps'")
    with pytest.raises(BuildError, match="by Meson failed") as failed:
        build_meson(lamps, "lamp", "release", tmp_path / "out")
    assert "meson.build:1" in failed.value.detail


def test_init_finds_the_drivers_of_a_meson_project(lamps: Path) -> None:
    begin_project(lamps, "lamp")
    loaded = config.load(lamps / "winvm.toml")
    assert (loaded.driver.name, loaded.driver.meson) == ("lamp", ".")
    assert "# Also here: driver broken (meson .)." in (lamps / "winvm.toml").read_text()
