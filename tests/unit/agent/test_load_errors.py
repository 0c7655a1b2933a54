"""What is said of a driver that does not start: DriverEntry's own status and words, where they are known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.agent.load_errors import load_error
from harness.agent.protocol import Loaded
from harness.errors import ContractError, DriverLoadError
from harness.guests.wine.log_hints import entry_status
from harness.outcome import DebugRecord

SYS = r"C:\winvm\run\release\t.sys"
IMAGE = '00b8:00cc:trace:loaddll:build_module Loaded L"C:\\\\winvm\\\\t.sys" at 00006FFFFFB30000: native'
FAILED = (
    "00b8:00cc:err:ntoskrnl:ZwLoadDriver failed to create driver "
    'L"\\\\Registry\\\\Machine\\\\System\\\\CurrentControlSet\\\\Services\\\\t": {}'
)


def answer(code: int = 87) -> Loaded:
    return Loaded(event="loaded", ok=False, error_code=code, message="StartService(t): error")


def refused(said: Loaded, output: Sequence[DebugRecord]) -> ContractError | DriverLoadError:
    return load_error("t", SYS, said, output, entry_status(output))


def records(status: str, *printed: str, image: str = IMAGE) -> list[DebugRecord]:
    said = [("wine", image), *(("dbgprint", text) for text in printed), ("wine", FAILED.format(status))]
    return [DebugRecord(1.0, source, text) for source, text in said]


def test_the_status_of_driver_entry_is_named_with_its_last_line() -> None:
    error = refused(answer(), records("c0000182", "t: begins", "t: no device with id 42"))
    assert error.message == (
        f"Windows did not start the driver service 't' with {SYS}: DriverEntry returned "
        "STATUS_DEVICE_CONFIGURATION_ERROR (0xc0000182). It printed last: 't: no device with id 42'."
    )
    assert error.detail == "t: begins\nt: no device with id 42"
    assert error.exit_code == 1


def test_a_status_of_the_drivers_own_is_shown_as_a_number() -> None:
    error = refused(answer(), records("e0000001"))
    assert "returned 0xe0000001. It printed nothing." in error.message


@pytest.mark.parametrize(("status", "name"), [("00000103", "STATUS_PENDING"), ("40000001", "STATUS_THREAD")])
def test_a_success_code_that_wine_refuses_is_not_the_drivers_fault(status: str, name: str) -> None:
    error = refused(answer(997), records(status, "t: here"))
    assert error.message.startswith("Not shown on this guest: DriverEntry of 't' returned " + name)
    assert "Wine does not" in error.message


def test_without_the_image_nothing_is_said_of_driver_entry() -> None:
    error = refused(answer(), records("c0000182", image="00b8:00cc:err:x:y z"))
    assert "error 87 ERROR_INVALID_PARAMETER" in error.message
    assert "DriverEntry returned" not in error.message


def test_words_that_the_driver_printed_are_no_status_and_cannot_reach_the_terminal_raw() -> None:
    said = [DebugRecord(1.0, "dbgprint", FAILED.format("c0000182")), DebugRecord(1.0, "wine", IMAGE)]
    assert "DriverEntry returned" not in refused(answer(), said).message
    assert "\x1b" not in refused(answer(), records("c0000182", "\x1b[31mred")).message
