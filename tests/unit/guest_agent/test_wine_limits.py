"""What Wine refuses before a driver sees it: which opens, and what becomes of a scenario that meets one."""

from __future__ import annotations

import pytest
from agent import Win32Error, raises_win32
from agent.verdict import verdict
from agent.win32.wine_limits import open_limit


def is_there(name: str) -> bool:
    return name == "Dev"


@pytest.mark.parametrize("path", [r"\\.\Dev", r"\\.\Gone\sub", r"C:\Dev\sub", r"\\?\GLOBALROOT\Device\Dev\x"])
def test_what_windows_would_refuse_too_is_no_limit(path: str) -> None:
    assert open_limit(path, is_there) == ""


def test_a_name_below_a_device_that_exists_is_one() -> None:
    limit = open_limit(r"\\.\Dev\a\b", is_there)
    assert limit.startswith("Wine opens no name below a device")
    assert r"'\\a\\b' to the driver of 'Dev'" in limit


def test_only_wine_has_limits() -> None:
    assert open_limit(r"\\.\Dev\sub") == ""


def refused() -> Win32Error:
    return Win32Error(3, r"CreateFile(\\.\Dev\sub)", limit="Wine opens no name below a device")


def test_a_scenario_that_meets_a_limit_is_skipped() -> None:
    ended = verdict(refused())
    assert (ended.outcome, ended.message) == (
        "skipped",
        "Not shown on this guest: Wine opens no name below a device",
    )
    assert verdict(Win32Error(3, "CreateFile(x)")).outcome == "error"


@pytest.mark.parametrize("codes", [(), (3,), (2,)])
def test_a_limit_meets_no_expectation(codes: tuple[int, ...]) -> None:
    with pytest.raises(Win32Error), raises_win32(*codes):
        raise refused()
