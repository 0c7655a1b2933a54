"""Control codes and the names of devices."""

from __future__ import annotations

import enum

import pytest
from agent import ControlCode, ctl_code
from agent.control_code import METHOD_NEITHER, METHOD_OUT_DIRECT, shown_code
from agent.win32.device import win32_path
from hypothesis import given
from hypothesis import strategies as st


class Ioctl(enum.IntEnum):
    ON = 0x222003


def test_a_code_is_what_the_macro_computes() -> None:
    assert ctl_code(0x22, 0x800, METHOD_NEITHER) == 0x222003
    assert ctl_code(0x8321, 0x900, METHOD_OUT_DIRECT, 1) == 0x83216402
    assert str(ControlCode.of(0x8321E403)) == (
        "CTL_CODE(0x8321, 0x900, METHOD_NEITHER, FILE_READ_ACCESS | FILE_WRITE_ACCESS)"
    )
    for parts in ((0x10000, 0), (0, 0x1000), (0, 0, 4), (0, 0, 0, -1)):
        with pytest.raises(ValueError, match="does not fit"):
            ctl_code(*parts)


@given(st.integers(0, 0x7FFFFFFF))
def test_parts_and_code_are_one(code: int) -> None:
    parts = ControlCode.of(code)
    rest = code & (1 << 31)
    assert int(parts) | rest == code


def test_a_member_shows_its_name() -> None:
    assert shown_code(Ioctl.ON) == "0x222003 ON"
    assert shown_code(0x222003) == "0x222003"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Lamp", r"\\.\Lamp"),
        (r"\\.\Lamp", r"\\.\Lamp"),
        (r"\DosDevices\Lamp", r"\\.\Lamp"),
        (r"\??\Lamp", r"\\.\Lamp"),
        (r"\Device\Lamp", r"\\?\GLOBALROOT\Device\Lamp"),
        (r"\\?\GLOBALROOT\Device\Lamp", r"\\?\GLOBALROOT\Device\Lamp"),
        ("COM2:", "COM2:"),
    ],
)
def test_a_device_is_named_in_any_way(name: str, path: str) -> None:
    assert win32_path(name) == path
