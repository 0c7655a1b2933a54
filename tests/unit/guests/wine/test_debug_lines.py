"""Lines of a hostile guest that only resemble Wine's reports of a crash."""

from __future__ import annotations

import pytest

from harness.guests.wine.debug_lines import WineLines
from tests.unit.guests.wine.test_debug_stream import NONCE


@pytest.mark.parametrize(
    "numbers",
    [
        "-1 0 0 0 0",
        "e2 0 0 -2 0",
        "1" * 9 + " 0 0 0 0",
        "e2 0 0 0 " + "f" * 17,
        "e_2 0 0 0 0",
        "+e2 0 0 0 0",
        "0xe2 0 0 0 0",
        "\u0663 0 0 0 0",
        "e2 0 0 0",
    ],
)
def test_a_bugcheck_with_numbers_that_no_kernel_prints_is_none(numbers: str) -> None:
    line = WineLines(f"WINVM-MARK {NONCE} ").parse(f"0120:0130:err:ntoskrnl:KeBugCheckEx {numbers}", 0.0)
    assert (line.source, line.crash) == ("wine", None)


def test_a_stack_overflow_at_no_address_is_no_crash() -> None:
    lines = WineLines(f"WINVM-MARK {NONCE} ")
    overflow = "0120:0130:err:virtual:virtual_setup_exception stack overflow 1984 bytes addr 0x{}"
    assert lines.parse(overflow.format("nowhere"), 0.0).crash is None
    crash = lines.parse(overflow.format("7ffffe21"), 0.0).crash
    assert crash is not None
    assert crash.parameters == (0xC00000FD, 0x7FFFFE21, 0, 0)
