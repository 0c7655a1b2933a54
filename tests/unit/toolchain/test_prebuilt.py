"""A driver that comes as a .sys and a .pdb: taken, signed when nothing signed it, inspected, never built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import BuildError, ConfigurationError
from harness.journal import Journal
from harness.project import config
from harness.run.plan import make_plan
from harness.toolchain.builds import build_drivers
from harness.toolchain.inspect import is_signed
from harness.toolchain.sign import TestCertificate, sign
from tests.fakes.tiny_driver import build_foreign_driver
from tests.unit.toolchain.inf.test_checks import GOOD

TOML = """
[driver]
name = "mine"
prebuilt = "{prebuilt}"
build = ["false"]
[scenarios]
folders = ["scenarios"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "x64").mkdir()
    build_foreign_driver(tmp_path / "x64")
    (tmp_path / "winvm.toml").write_text(TOML.format(prebuilt="x64/tiny.sys"))
    return tmp_path


def build(project: Path) -> tuple[dict[str, Path], list[str]]:
    journal, notes = Journal(), []
    journal.listen(lambda event: notes.append(str(event)))
    return build_drivers(config.load(project / "winvm.toml"), None, journal), notes


def test_an_unsigned_one_is_signed_and_its_symbols_come_along(project: Path) -> None:
    before = (project / "x64" / "tiny.sys").read_bytes()
    drivers, notes = build(project)
    assert drivers == {"release": project / "build" / "driver" / "release" / "mine.sys"}
    assert is_signed(drivers["release"])
    assert drivers["release"].with_suffix(".pdb").read_bytes() == (project / "x64" / "tiny.pdb").read_bytes()
    assert (project / "x64" / "tiny.sys").read_bytes() == before
    assert any("no INIT section" in note for note in notes)


def test_it_is_the_same_until_the_original_changes(project: Path) -> None:
    first = build(project)[0]["release"].read_bytes()
    assert build(project)[0]["release"].read_bytes() == first
    os.utime(project / "x64" / "tiny.sys", (0, 0))
    assert build(project)[0]["release"].read_bytes() == first
    build_foreign_driver(project / "x64", greeting="another hello")
    changed = build(project)[0]["release"].read_bytes()
    assert b"another hello" in changed


def test_a_foreign_signature_is_kept(project: Path) -> None:
    driver = project / "x64" / "tiny.sys"
    sign(driver, TestCertificate.ensure(project / "vendor"))
    signed = driver.read_bytes()
    assert build(project)[0]["release"].read_bytes() == signed


def test_the_name_of_the_build_may_be_part_of_the_path(project: Path) -> None:
    text = TOML.format(prebuilt="x64/{build}/tiny.sys").replace(
        "build = [", 'builds = ["Release"]\nbuild = ['
    )
    (project / "winvm.toml").write_text(text)
    (project / "x64" / "Release").mkdir()
    build_foreign_driver(project / "x64" / "Release")
    assert list(build(project)[0]) == ["Release"]


@pytest.mark.parametrize("content", [None, b"", b"MZ and no more"])
def test_a_file_that_is_no_driver_is_refused(project: Path, content: bytes | None) -> None:
    driver = project / "x64" / "tiny.sys"
    driver.unlink()
    if content is not None:
        driver.write_bytes(content)
    with pytest.raises(BuildError) as caught:
        build(project)
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_a_package_without_its_catalogue_is_refused_unless_a_rule_says_otherwise(project: Path) -> None:
    text = (project / "winvm.toml").read_text().replace("build = [", 'inf = "x64/lamp.inf"\nbuild = [')
    (project / "winvm.toml").write_text(text)
    (project / "x64" / "lamp.inf").write_text(
        GOOD.replace("lamp.sys", "tiny.sys").replace("= lamp,", "= mine,")
    )
    with pytest.raises(BuildError, match="fails 1 check") as caught:
        build(project)
    assert caught.value.detail.startswith("lamp.inf:7: the catalogue lamp.cat is not beside the INF. Make it")
    (project / "winvm.toml").write_text(text + '[check]\nrules = { "inf-catalogue" = "note" }\n')
    assert any("lamp.inf:7: the catalogue" in note for note in build(project)[1])


def test_an_inf_package_is_refused_on_wine_before_anything_boots(project: Path) -> None:
    text = (project / "winvm.toml").read_text().replace("build = [", 'inf = "x64/mine.inf"\nbuild = [')
    (project / "winvm.toml").write_text(text)
    (project / "scenarios").mkdir()
    with pytest.raises(ConfigurationError, match="guest wine lacks the capability inf-package"):
        make_plan(config.load(project / "winvm.toml"), None)
