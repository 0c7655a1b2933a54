"""The survey of driver projects lists those that compile, and reports one that no longer does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.__main__ import main
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
