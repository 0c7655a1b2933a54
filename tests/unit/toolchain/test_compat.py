"""The survey of driver projects lists those that compile, and reports one that no longer does what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.__main__ import main
from tests.compat.first_hour import LIST
from tests.unit.toolchain.clang.wdk_code import PLAIN
from tests.unit.toolchain.msbuild.test_vcxproj import APPLICATION
from tests.unit.toolchain.test_own_driver import PROJECT


def test_a_survey_and_what_it_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, record = tmp_path / "drivers", tmp_path / "record.json"
    for name, text in (("good", PLAIN), ("bad", "#include <wdf.h>\n")):
        (folder / name).mkdir(parents=True)
        (folder / name / "echo.vcxproj").write_text(PROJECT)
        (folder / name / "echo.c").write_text(text)
    (folder / "app.vcxproj").write_text(APPLICATION)
    assert main([str(folder), "--record", str(record)]) == 0
    said = capsys.readouterr().out
    assert "compiles  good/echo.vcxproj" in said
    assert "fails     bad/echo.vcxproj  'wdf.h' file not found" in said
    assert "1 of 2 projects compile" in said
    (folder / "good" / "echo.c").write_text("#error no more\n")
    assert main([str(folder), "--expect", str(record)]) == 1
    assert "no longer compiles: good/echo.vcxproj" in capsys.readouterr().out


def test_the_first_hour_beside_a_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is tried in a copy; a KMDF driver is refused with the alternatives."""
    for name, text in (("good", PLAIN), ("framework", "#include <wdf.h>\n")):
        (tmp_path / "clone" / name).mkdir(parents=True)
        (tmp_path / "clone" / name / "echo.vcxproj").write_text(PROJECT)
        (tmp_path / "clone" / name / "echo.c").write_text(text)
    table = '[[project]]\nfolder = "clone/{}"\nexpect = "{}"\nreason = "{}"\n'
    entries = (table.format("good", "loads", ""), table.format("framework", "refused", "needs KMDF"))
    (tmp_path / LIST).write_text("".join(entries))
    assert main([str(tmp_path), "--first-hour", "--record", str(tmp_path / "record.json")]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 projects compile; 1 load or are refused with the expected reason" in said
    assert "echo needs KMDF, which winvm's driver kit does not have" in said
    assert sorted(path.name for path in (tmp_path / "clone" / "good").iterdir()) == ["echo.c", "echo.vcxproj"]
    (tmp_path / LIST).write_text(table.format("framework", "refused", "another reason"))
    assert main([str(tmp_path), "--first-hour"]) == 1
    assert capsys.readouterr().out.startswith("! refused")
