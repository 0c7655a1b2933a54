"""Which operation of the agent's journal a crash names as the last one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.crash.capture import last_operation


@pytest.mark.parametrize(
    ("operations", "last"),
    [
        (["CreateService", "StartService", "DeleteService after error"], "StartService"),
        (["DeviceIoControl", "CloseHandle after error", "CloseHandle after error"], "DeviceIoControl"),
        (["DeviceIoControl", "DeleteService"], "DeleteService"),
        (["CloseHandle after error"], ""),
        ([], ""),
    ],
)
def test_cleaning_up_does_not_count(tmp_path: Path, operations: list[str], last: str) -> None:
    journal = tmp_path / "journal"
    lines = [f'{{"n":{number},"op":"{name}"}}\n' for number, name in enumerate(operations)]
    journal.write_text("".join([*lines, '{"n":9,"op":"cut of']))
    assert last_operation(journal) == last


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text('{"op":"ReadFile","detail":"x"}\n{"op":3}\n[]\nnoise\n')
    assert last_operation(journal) == "ReadFile x"


def test_operations_of_other_scenarios_are_not_told_as_one_s_own(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    entries = [("", "StartService"), ("s.one", "ReadFile"), ("s.two", "WriteFile"), ("s.one", "CloseHandle")]
    journal.write_text("".join(f'{{"scenario":"{name}","op":"{what}"}}\n' for name, what in entries))
    assert last_operation(journal, "s.two") == "WriteFile"
    assert last_operation(journal, "s.one") == "CloseHandle"
    assert last_operation(journal, "") == "StartService"
    assert last_operation(journal, "s.three") == ""
    assert last_operation(journal) == "CloseHandle"
