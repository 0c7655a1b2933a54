"""The Win32 layer on a machine without Windows: layouts of 64-bit Windows, and nothing loaded on import."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from agent import Win32Error
from agent.errors import NtStatusError
from agent.win32 import layouts
from agent.win32.binding import Function, check_status, invalid_handle, zero
from agent.win32.buffers import input_buffer, output_buffer, partial
from agent.win32.token import SidAndAttributes


@pytest.mark.parametrize(
    ("structure", "size", "offsets"),
    [
        (layouts.OverlappedLayout, 32, {"Internal": 0, "Offset": 16, "hEvent": 24}),
        (layouts.SystemTime, 16, {"wDay": 6, "wMilliseconds": 14}),
        (layouts.ServiceStatusProcess, 36, {"dwCurrentState": 4, "dwProcessId": 28}),
        (layouts.ProcessEntry, 568, {"th32ProcessID": 8, "th32ParentProcessID": 32, "szExeFile": 44}),
        (layouts.UnicodeString, 16, {"MaximumLength": 2, "Buffer": 8}),
        (layouts.ObjectAttributes, 48, {"ObjectName": 16, "Attributes": 24}),
        (layouts.IoStatusBlock, 16, {"Status": 0, "Information": 8}),
        (SidAndAttributes, 16, {"Attributes": 8}),
    ],
)
def test_layouts_are_those_of_64_bit_windows(
    structure: type[ctypes.Structure], size: int, offsets: dict[str, int]
) -> None:
    assert ctypes.sizeof(structure) == size
    assert {name: getattr(structure, name).offset for name in offsets} == offsets


def test_a_function_cannot_be_called_here() -> None:
    function = Function("kernel32", "CloseHandle", layouts.BOOL, layouts.HANDLE)
    with pytest.raises(RuntimeError, match="kernel32!CloseHandle can be called on Windows only"):
        function.call(1)


def test_which_results_mean_failure() -> None:
    assert zero(0)
    assert not zero(1)
    assert invalid_handle(0)
    assert invalid_handle(0xFFFFFFFFFFFFFFFF)
    assert not invalid_handle(0x10)


@pytest.mark.parametrize("status", [0, 0x103, 0x40000000])
def test_success_and_information_pass(status: int) -> None:
    assert check_status(status, "x") == status


@pytest.mark.parametrize("status", [0x80000005, 0xC0000022])
def test_warnings_and_errors_raise(status: int) -> None:
    with pytest.raises(NtStatusError) as raised:
        check_status(status, "NtReadFile(x)")
    assert raised.value.status == status


def test_errors_name_their_code() -> None:
    assert str(Win32Error(1072, "DeleteService(x)")).startswith(
        "DeleteService(x): ERROR_SERVICE_MARKED_FOR_DELETE (1072)"
    )
    assert str(Win32Error(54321, "x")).startswith("x: error 54321")
    assert str(NtStatusError(0xDEAD0001, "x")) == "x: (0xDEAD0001)"


def test_no_data_is_a_null_pointer() -> None:
    assert input_buffer(b"") == (None, 0)
    assert output_buffer(0) is None


def test_a_contract_structure_is_data() -> None:
    buffer, length = input_buffer(layouts.SystemTime(1, 2))
    assert length == 16
    assert buffer is not None
    assert buffer.raw[:4] == b"\x01\0\x02\0"


def test_codes_are_unsigned_whatever_ctypes_gives() -> None:
    error = Win32Error(-0x1FFFFFFF, "DeviceIoControl(x)")
    assert error.code == 0xE0000001
    assert str(error).startswith("DeviceIoControl(x): error 0xe0000001")


def test_an_error_keeps_what_was_delivered() -> None:
    error = Win32Error(234, "x", b"part", 4)
    assert (error.output, error.count) == (b"part", 4)
    buffer = output_buffer(8)
    assert partial(234, buffer, 4) == bytes(4)
    assert partial(234, buffer, 64) == bytes(8)  # never beyond the memory
    assert partial(5, buffer, 4) == b""


@pytest.mark.parametrize(("data", "meant"), [(5, "struct.pack"), ("text", "encode"), (True, "struct.pack")])
def test_numbers_and_text_are_no_data(data: Any, meant: str) -> None:
    with pytest.raises(TypeError, match=meant):
        input_buffer(data)
    assert input_buffer(None) == (None, 0)
