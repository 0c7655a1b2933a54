"""The survey of driver projects lists those that compile, and reports one that no longer does what it did."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tests.compat
from tests.compat.__main__ import main
from tests.compat.first_hour import LIST
from tests.compat.loads import Load, judged
from tests.compat.outcomes import AFTER_BUILD, FAILS, LOADS, REFUSED
from tests.compat.record import recorded
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
    measured = tmp_path / "measured.toml"
    entry = '[[outcome]]\nrepository = "a/clone"\ncommit = "1"\nfolder = "{}"\noutcome = "{}"\n'
    measured.write_text(entry.format("good", "not-shown") + entry.format("framework", "refused"))
    assert main([str(tmp_path), "--first-hour", "--expect", str(measured)]) == 0
    measured.write_text(entry.format("good", "fails") + entry.format("framework", "builds"))
    capsys.readouterr()
    assert main([str(tmp_path), "--first-hour", "--expect", str(measured)]) == 1
    said = capsys.readouterr().out
    assert "clone/good: builds, recorded as fails" in said
    assert "clone/framework: refused, recorded as builds" in said
    (tmp_path / LIST).write_text(table.format("framework", "refused", "another reason"))
    assert main([str(tmp_path), "--first-hour"]) == 1
    assert capsys.readouterr().out.startswith("! refused")


def test_the_record_of_the_survey_is_one() -> None:
    record = recorded(Path(tests.compat.__file__).with_name("measured.toml"))
    assert len({(one.place, one.name) for one in record}) == len(record)
    assert {one.outcome for one in record} <= {FAILS, REFUSED, *AFTER_BUILD}
    assert all(re.fullmatch("[0-9a-f]{40}", one.commit) for one in record)
    assert all(one.reason for one in record if one.outcome != LOADS)


@pytest.mark.parametrize(
    ("outcome", "message", "crash", "load"),
    [
        ("passed", "", None, Load("loads")),
        (
            "error",
            "Windows did not start the driver service 'driver' with C:\\d1\\driver.sys: DriverEntry returned "
            "STATUS_NO_MEMORY (0xc0000017).",
            None,
            Load(
                "not-loaded",
                "Windows did not start DriverEntry returned STATUS_NO_MEMORY (0xc0000017).",
            ),
        ),
        (
            "error",
            "Not shown on this guest: no such thing.",
            None,
            Load("not-shown", "Not shown on this guest: no such thing."),
        ),
        ("skipped", "guest lacks x", None, Load("not-shown", "guest lacks x")),
        ("crashed", "The driver crashed.", {"code": 1}, Load("crashes", "The driver crashed.")),
        ("lost", "The machine is gone.", None, Load("not-loaded", "The machine is gone.")),
    ],
)
def test_what_a_row_of_the_results_says(outcome: str, message: str, crash: object, load: Load) -> None:
    assert judged({"outcome": outcome, "message": message, "crash": crash}) == load
