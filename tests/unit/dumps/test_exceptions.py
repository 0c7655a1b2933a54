"""What the code that raised an exception did, in one sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.crash.analysis import likely_cause
from harness.dumps.bugcheck import explanation, raised
from harness.dumps.exceptions import cause, exception_name, status_name
from harness.dumps.formats.reader import summarise
from harness.dumps.ntstatus import NTSTATUS
from harness.dumps.text import page
from harness.outcome import KernelCrash
from tests.fakes import dump_writer as writer

AT = 0xFFFFF80200001234


@pytest.mark.parametrize(
    ("code", "information", "words"),
    [
        (0xC0000005, (1, 0x10), "wrote to address 0x10, through a null pointer"),
        (0xFFFFFFFFC0000005, (0, 0), "read from address 0x0, through a null pointer"),
        (0xC0000005, (8, 0x41414141), "jumped to address 0x41414141, which is not mapped"),
        (0xC0000005, (0, (1 << 64) - 1), "which no pointer can have"),
        (0xC0000005, (1, 0xFFFFFFFFFFFFFFE8), "at a negative offset from a null pointer"),
        (0xC0000006, (0, 0xFFFFA000, 0xC000000E), "STATUS_NO_SUCH_DEVICE"),
        (0xC0000094, (), "divided an integer by zero"),
        (0xC0000409, (3,), "LIST_ENTRY damaged"),
        (0x80000003, (), "hit a breakpoint"),
        (0xC0000096, (), "privileged instruction"),
    ],
)
def test_the_cause(code: int, information: tuple[int, ...], words: str) -> None:
    assert words in cause(code, information)


def test_what_is_unknown_is_not_reported() -> None:
    assert cause(0xC0000005, ()) == ""
    assert cause(0xC0000005, (1,)) == ""
    assert cause(0xC0000409, (0x9999,)) == ""
    assert cause(0x12345678, (1, 2)) == ""


def test_names() -> None:
    assert status_name(0xFFFFFFFFC00000BB) == "STATUS_NOT_SUPPORTED"
    assert exception_name(0xC0000005) == "access violation"
    assert exception_name(0xC000009A) == "STATUS_INSUFFICIENT_RESOURCES"
    assert exception_name(0) == ""
    assert len(NTSTATUS) >= 200
    assert all(name.startswith("STATUS_") for name in NTSTATUS.values())


@pytest.mark.parametrize("code", [0x3B, 0x7E, 0x1000007E, 0x8E])
def test_an_exception_bugcheck_says_what_the_record_holds(code: int) -> None:
    values = (0xFFFFFFFFC0000005, AT, 0, 0)
    assert "The code" not in explanation(code, values)
    assert explanation(code, values, (1, 0x10)).endswith("wrote to address 0x10, through a null pointer.")


def test_kmode_exception_holds_it_itself() -> None:
    said = explanation(0x1E, (0xFFFFFFFFC0000005, AT, 0, 0x28))
    assert said.endswith("The code read from address 0x28, through a null pointer.")


@pytest.mark.parametrize("third", [2, 0x10, 0xFFFFF90000001230])
def test_what_is_no_kind_of_access_tells_nothing_of_an_access(third: int) -> None:
    """Kernels other than Windows put the address of a context there."""
    values = (0xFFFFFFFFC0000005, AT, third, 0)
    assert explanation(0x1E, values).endswith(f"(access violation); instruction {AT:#x}.")
    assert raised(0x1E, values) == (0xC0000005, ())
    crash = KernelCrash("bugcheck", 0x1E, values, 0.0)
    assert likely_cause(crash, None).startswith("The driver raised access violation: kernel code")
    assert explanation(0x1E, (0x80000003, AT, third, 5)).endswith("hit a breakpoint or failed an assertion.")
    assert explanation(0x1E, ())


@pytest.mark.parametrize("access", [0, 1])
def test_a_general_protection_fault_is_not_told_as_an_access_to_the_last_address(access: int) -> None:
    said = explanation(0x1E, (0xC0000005, AT, access, (1 << 64) - 1))
    assert said.endswith(
        "The code raised a general protection fault, usually through an address which no pointer can have "
        "(it is not canonical): it was overwritten or never set."
    )


@pytest.mark.parametrize(("address", "told"), [(writer.DRIVER + 0x1234, True), (writer.DRIVER, False)])
def test_the_record_of_the_header_is_used_when_it_is_the_one(
    address: int, told: bool, tmp_path: Path
) -> None:
    data = bytearray(writer.full(writer.guest()))
    struct.pack_into("<I4x4Q", data, 0x38, 0x3B, 0xC0000005, writer.DRIVER + 0x1234, 0, 0)
    struct.pack_into("<IIQQI4x2Q", data, 0xF00, 0xC0000005, 0, 0, address, 2, 1, 0x10)
    found = summarise(writer.write(tmp_path, bytes(data)))
    assert ("wrote to address 0x10" in "\n".join(page(found))) is told
    assert found.exception
    assert found.exception.parameters == ((1, 0x10) if told else ())


def test_the_record_that_stands_for_the_bugcheck_is_no_breakpoint_of_a_driver(tmp_path: Path) -> None:
    data = bytearray(writer.full(writer.guest()))
    struct.pack_into("<IIQQI4x2Q", data, 0xF00, 0x80000003, 0, 0, writer.RIP, 0, 0, 0)
    for code, shown in ((0xD1, False), (0x1E, True)):
        struct.pack_into("<I4x4Q", data, 0x38, code, 0x80000003, writer.DRIVER + 0x1234, 0, 0)
        text = "\n".join(page(summarise(writer.write(tmp_path, bytes(data)))))
        assert ("breakpoint" in text) is shown


@pytest.mark.parametrize(
    ("code", "values", "words"),
    [
        (
            0x1E,
            (0xC0000005, AT, 1, 0x10),
            "The driver wrote to address 0x10, through a null pointer: kernel code",
        ),
        (0x7E, (0xC0000094, AT, 0, 0), "The driver divided an integer by zero: a system thread"),
        (0x3B, (0xC0000005, AT, 0, 0), "The driver raised access violation: a system call"),
        (
            0xC4,
            (0x2000, AT, 0, 0),
            "The driver is at fault: Driver Verifier caught a driver breaking a rule; exec",
        ),
        (0x124, (0, 0, 0, 0), "The usual cause is hardware or firmware, and the dump names no driver: "),
        (0xEF, (AT, 0, 0, 0), "A part of Windows itself ended, and the dump names no driver: a process"),
        (0x9F, (3, AT, 0, 0), "A watchdog raised the bugcheck"),
        (0x161, (0, 0, 0, 0), "The dump was taken of a running system, without a crash: "),
        (0x50, (0x10, 0, AT, 2), "The driver touched address 0x10, through a null pointer: "),
        (0x57564D01, (1, 2, 3, 4), "bugcheck 0x57564d01, which Microsoft does not document"),
        (0xDEADDEAD, (0, 0, 0, 0), "crashed the system on purpose"),
    ],
)
def test_the_likely_cause_of_a_bugcheck(code: int, values: tuple[int, ...], words: str) -> None:
    assert words in likely_cause(KernelCrash("bugcheck", code, values, 0.0), None)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            0x1A,
            "bad.sys+0x1456 is at fault: the memory manager found damage. That is a guess: only a scan of ",
        ),
        (0x1C8, "The crash was asked for: the power button was held"),
        (0x124, "The usual cause is hardware"),
        (0x109, "A check found damage that a driver, a debugger or hardware had done before"),
    ],
)
def test_what_only_a_scan_found_is_marked_and_accused_of_no_purpose(
    code: int, words: str, tmp_path: Path
) -> None:
    data = bytearray(writer.full(writer.guest()))
    struct.pack_into("<I4x4Q", data, 0x38, code, 0, 0, 0, 0)
    struct.pack_into("<Q", data, 0x348 + 0xF8, writer.KERNEL + 0x500)  # it stands in the kernel
    found = summarise(writer.write(tmp_path, bytes(data)))
    assert likely_cause(KernelCrash("bugcheck", code, (0, 0, 0, 0), 0.0), found).startswith(words)
    assert found.guessed is (code == 0x1A)
    assert ("by a scan: a guess" in "\n".join(page(found))) is found.guessed


def test_code_that_a_parameter_names_is_named_whatever_the_usual_cause(tmp_path: Path) -> None:
    values = (1, 0, 0, writer.DRIVER + 0x1234)
    data = bytearray(writer.full(writer.guest()))
    struct.pack_into("<I4x4Q", data, 0x38, 0x1A0, *values)
    summary = summarise(writer.write(tmp_path, bytes(data)))
    said = likely_cause(KernelCrash("bugcheck", 0x1A0, values, 0.0), summary)
    assert said.startswith("bad.sys+0x1234 is at fault: a device of a terminal makes no progress")
