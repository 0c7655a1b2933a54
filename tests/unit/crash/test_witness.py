"""A crash whose stack names no function of the driver: its last output, else who took the request."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.crash.analysis import Circumstances, analyse
from harness.crash.dispatch import dispatch_routine
from harness.crash.last_print import last_print, printed_by
from harness.journal import Journal
from harness.outcome import KernelCrash
from harness.project import config
from harness.toolchain.builds import build_drivers
from tests.fakes.overrun_driver import NAME, write_overrun_driver
from tests.fakes.user_dump import UserDump, context, dispatched

TELLING = "overrun: 768 bytes into 00007FFFFEEFF740, aloud"
OFF_STACK = KernelCrash(
    "exception",
    0xC0000005,
    (0xC0000005, 0x6FFFFF8040AE),
    time=0.0,
    notes=(rf"C:\winvm\run\release\{NAME}.sys at 0x7fffff300000",),
)
RETURNED = 0x4242424242424242


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_overrun_driver(tmp_path_factory.mktemp("overrun"))
    return build_drivers(config.load(folder / "winvm.toml"), None, Journal())["release"]


def circumstances(*printed: str) -> Circumstances:
    return Circumstances("s", f"{NAME}.sys", r"DeviceIoControl \\.\Overrun code=0x222000", printed=printed)


def test_the_last_line_leads_to_the_function_that_printed_it(built: Path) -> None:
    place = last_print(built, ["overrun: loaded", TELLING, ""])
    assert place is not None
    assert [(frame.function, frame.file) for frame in place.frames] == [("Telling", "overrun.c")]
    assert last_print(built, ["overrun: nothing of ours"]) is None
    assert last_print(built, []) is None
    assert last_print(built.parent / "missing.sys", [TELLING]) is None


@pytest.mark.parametrize(
    ("line", "form", "fits"),
    [
        ("size 0x10 of 3", "size 0x%zX of %d\n", True),
        ("size 0x10 of 3", "size 0x%zX off %d\n", False),
        ("second line", "first line\nsecond line\n", True),
        ("12: 7", "%d: %d\n", False),  # too little of it is the format's own
        ("100%% sure, really", "100%% sure, really", True),
        ("abcdef", "abcdefgh", False),
        ("abcabc", "abc%sabc", True),
        ("abcab", "abc%scab", False),
    ],
)
def test_a_line_and_its_format(line: str, form: str, fits: bool) -> None:
    assert printed_by(line, form) is fits


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        (r"DeviceIoControl \\.\Overrun code=0x222004", "Control"),
        ("CreateFile x", "Open"),
        ("ReadFile x", None),
        ("note", None),
        ("", None),
    ],
)
def test_the_routine_of_an_operation(built: Path, operation: str, function: str | None) -> None:
    place = dispatch_routine(built, operation)
    assert (place.frames[0].function if place else None) == function


def test_a_crash_without_a_dump_is_named_as_a_guess(built: Path, tmp_path: Path) -> None:
    told = analyse(OFF_STACK, circumstances(TELLING), tmp_path, built.parent.parent)
    assert told["signature"] == "c0000005-overrun.sys-Telling"
    assert "left no usable stack" in told["likely_cause"]
    assert (
        "Perhaps at fault: the driver printed last in overrun.sys, Telling (overrun.c:"
        in told["likely_cause"]
    )
    silent = analyse(OFF_STACK, circumstances(), tmp_path, built.parent.parent)
    assert silent["signature"] == "c0000005-overrun.sys-Control"
    assert "the request was dispatched to overrun.sys, Control (overrun.c:" in silent["likely_cause"]


def test_an_overwritten_return_address_is_no_fault_of_the_kernel(built: Path, tmp_path: Path) -> None:
    """The dump's exception is the kernel's, met while the driver's was dispatched, as Wine 10 leaves it."""
    dump = UserDump(
        address=0x6FFFFF8040AE,
        threads=[(1, context("x64", 0x6FFFFF8040AE, 0x7FFFFEEFF000))],
        modules=[("ntoskrnl.exe", 0x6FFFFF7E0000, 0x60000), (f"{NAME}.sys", 0x7FFFFF300000, 0x10000)],
        memory=[(0x7FFFFEEFF000, _stack(0x7FFFFEEFF000))],
    )
    (tmp_path / "minidump.dmp").write_bytes(dump.encode())
    told = analyse(OFF_STACK, circumstances(TELLING), tmp_path, built.parent.parent)
    assert told["signature"] == "c0000005-overrun.sys-Telling"
    assert told["likely_cause"].startswith(
        f"A function returned to address {RETURNED:#x}: the return address on its stack had been overwritten."
    )
    assert any("followed while this one was dispatched" in warning for warning in told["warnings"])


def _stack(base: int) -> bytes:
    """What the dispatcher was given, below the stack pointer after the return."""
    at, sp = 0x200, base + 0xA00
    return bytes(at) + dispatched(RETURNED, sp, at + base).ljust(0x1000 - at, b"\0")
