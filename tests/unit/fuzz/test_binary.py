"""Control codes and devices of a driver that has no contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.fuzz import binary
from harness.fuzz.targets import object_path

LISTING = """
180001000:\tmov\teax, dword ptr [rdx + 0x18]
180001003:\tcmp\teax, 0x222000
180001008:\tje\t0x180001100 <Control>
18000100a:\tlea\tecx, [rax - 0x222400]
180001010:\tcmp\tecx, 0xc
180001013:\tja\t0x180001200
180001015:\tcmp\teax, 0x8000e004
18000101a:\tmov\trax, qword ptr [rip + 0x222999]
18000101e:\tcmp\teax, 0x5
"""


def test_compared_constants_and_tables_are_codes() -> None:
    assert binary.codes_of(LISTING) == [0x222000, 0x222400, 0x222404, 0x222408, 0x22240C]


def test_code_without_a_constant_has_none() -> None:
    assert binary.codes_of("180001000:\tret\n") == []


def test_names_of_devices_are_in_the_data(tmp_path: Path) -> None:
    driver = tmp_path / "a.sys"
    texts = [r"\DosDevices\Echo", r"\??\Other", r"\Device\Echo", r"\DosDevices\C:\file"]
    driver.write_bytes(b"MZ" + b"\0\0".join(text.encode("utf-16-le") for text in texts))
    assert binary.device_paths(driver) == [r"\??\Echo", r"\??\Other"]
    driver.write_bytes(r"\Device\Echo".encode("utf-16-le"))
    assert binary.device_paths(driver) == [r"\Device\Echo"]


@pytest.mark.parametrize("given", [r"\\.\Echo", r"\??\Echo", "Echo"])
def test_a_device_may_be_named_in_several_ways(given: str) -> None:
    assert object_path(given) == r"\??\Echo"


@pytest.mark.parametrize("given", ["", "\\", "C:\\\n", "\\Registry\\Machine"])
def test_what_names_no_device_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="name of a device"):
        object_path(given)
