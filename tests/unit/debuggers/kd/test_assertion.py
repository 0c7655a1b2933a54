"""A failed ASSERT of a checked driver: the kernel asks what to do, and the scenario has crashed."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.crash.expectation import mismatch
from harness.deadline import Deadline
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.stream import KdDebugStream
from harness.outcome import CrashExpectation
from tests.fakes.kd_lines import SerialTarget
from tests.fakes.kd_machine import (
    BREAK_PC,
    KERNEL_BASE,
    STACK,
    FakeKernel,
    exception,
    load_symbols,
    printed,
    prompt,
)

DRIVER, OTHER = 0xFFFFF80200000000, 0xFFFFF80300000000
ROUTINE = KERNEL_BASE + 0x205
SAID = "\n*** Assertion failed: Length <= Limit\n***   Source File: src\\async.c, line 42\n\n"
QUESTION = "Break repeatedly, break Once, Ignore, terminate Process or terminate Thread (boipt)? "
CALL = b"\xe8\1\2\3\4"


def asserting(caller: int, *, kernel_is_known: bool = True, call: bytes = CALL) -> FakeKernel:
    """A kernel whose RtlAssert was called from in front of `caller`; it breaks, and goes on."""
    kernel = FakeKernel()
    if kernel_is_known:
        kernel.script.append(load_symbols(r"\SystemRoot\system32\ntoskrnl.exe", KERNEL_BASE, 0x800000))
    kernel.script.append(load_symbols(r"\??\C:\winvm\winvm.sys", DRIVER, 0x9000))
    kernel.script.append(load_symbols(r"\??\C:\other.sys", OTHER, 0x9000))
    kernel.script.extend([printed(SAID), prompt(QUESTION), exception(0x80000003), printed("went on\n")])
    kernel.write(BREAK_PC, b"\xcc\xc3")
    kernel.write(ROUTINE - 5, CALL + b"\x48\x83\xc4\x28\xc3")  # add rsp, 0x28; ret
    kernel.write(STACK, struct.pack("<Q", ROUTINE).ljust(0x30, b"\0") + struct.pack("<Q", caller))
    kernel.write(caller - 5, call)
    return kernel


@pytest.fixture
def opened() -> Iterator[list[KdDebugStream | SerialTarget]]:
    found: list[KdDebugStream | SerialTarget] = []
    yield found
    for one in found:
        one.close()


def listen(
    kernel: FakeKernel,
    folder: Path,
    opened: list[KdDebugStream | SerialTarget],
    *,
    break_in: bool = False,
) -> KdDebugStream:
    """A stream that watches the driver, once the kernel has gone on."""
    script = list(kernel.script)
    kernel.script.clear()
    target = SerialTarget(kernel)
    stream = KdDebugStream(KdcomWire(target.line, "line"), folder / "dbgprint.log", "nonce")
    opened += [stream, target]
    stream.watch(["winvm.sys"])
    if break_in:
        stream.host.break_in()
    kernel.script.extend(script)  # not earlier: the stream reads already
    deadline = Deadline.after(20.0)
    while not any(record.text.endswith("went on") for record in stream.tail()):
        assert not deadline.expired
        time.sleep(0.005)
    return stream


@pytest.mark.parametrize("kernel_is_known", [True, False])
def test_it_ends_the_scenario_as_crashed(
    kernel_is_known: bool, tmp_path: Path, opened: list[KdDebugStream | SerialTarget]
) -> None:
    kernel = asserting(DRIVER + 0x88, kernel_is_known=kernel_is_known)
    crash = listen(kernel, tmp_path, opened).crash()
    assert crash
    assert (crash.kind, crash.code) == ("exception", 0x80000003)
    assert crash.notes[0].startswith("At winvm.sys+0x88. ")
    assert r"Assertion failed: Length <= Limit Source File: src\async.c, line 42" in crash.text
    assert not mismatch(CrashExpectation(exception=0x80000003), crash)
    (answer,) = kernel.answers
    assert answer.payload[16:] == b"o"
    assert struct.unpack_from("<Q", kernel.contexts[0], 0xF8)[0] == BREAK_PC + 1, "it goes on behind it"


def test_that_of_another_driver_is_not_the_scenario_s(
    tmp_path: Path, opened: list[KdDebugStream | SerialTarget]
) -> None:
    stream = listen(asserting(OTHER + 0x88), tmp_path, opened)
    assert stream.crash() is None
    assert any("place other.sys+0x88" in record.text for record in stream.tail())


def test_a_word_on_the_stack_is_no_witness(
    tmp_path: Path, opened: list[KdDebugStream | SerialTarget]
) -> None:
    stream = listen(asserting(DRIVER + 0x88, call=b"\x90" * 5), tmp_path, opened)
    assert stream.crash() is None
    assert any("assertion Assertion failed" in record.text for record in stream.tail())


def test_a_kernel_that_cannot_be_continued_behind_a_breakpoint_is_told_to_ignore(
    tmp_path: Path, opened: list[KdDebugStream | SerialTarget]
) -> None:
    kernel = asserting(DRIVER + 0x88)
    kernel.machine = 0x14C
    kernel.script.remove(kernel.script[-2])
    assert listen(kernel, tmp_path, opened).crash() is None
    assert [answer.payload[16:] for answer in kernel.answers] == [b"i"]


def test_an_error_that_driver_verifier_asks_about_is_a_crash(
    tmp_path: Path, opened: list[KdDebugStream | SerialTarget]
) -> None:
    question = "(Break, Ignore, Zap, Remove, Disable all)? "
    kernel = asserting(DRIVER + 0x88)
    script = list(kernel.script)
    said = printed("WDM DRIVER ERROR: [winvm.sys @ 0x88] IRP completed twice\n")
    kernel.script.clear()
    kernel.script.extend([*script[:3], said, prompt(question), script[5], prompt(question), script[6]])
    crash = listen(kernel, tmp_path, opened).crash()
    assert crash
    assert crash.notes[0].startswith("At winvm.sys+0x88. ")
    assert "WDM DRIVER ERROR" in crash.text
    assert [answer.payload[16:] for answer in kernel.answers] == [b"b", b"i"]


def test_another_question_is_ignored(tmp_path: Path, opened: list[KdDebugStream | SerialTarget]) -> None:
    kernel = asserting(DRIVER + 0x88)
    script = list(kernel.script)
    kernel.script.clear()
    kernel.script.extend([*script[:3], prompt("Go on (yn)? "), script[6]])
    assert listen(kernel, tmp_path, opened).crash() is None
    assert [answer.payload[16:] for answer in kernel.answers] == [b"i"]


def test_the_kernels_own_assertion_is_not_the_driver_s(
    tmp_path: Path, opened: list[KdDebugStream | SerialTarget]
) -> None:
    """It asserts in a routine that the driver called; the bugcheck that may follow is what counts."""
    kernel = asserting(DRIVER + 0x88)
    routine = KERNEL_BASE + 0x305
    kernel.write(routine - 5, CALL + b"\x48\x83\xc4\x28\xc3")
    kernel.write(
        STACK + 0x30, struct.pack("<Q", routine).ljust(0x30, b"\0") + struct.pack("<Q", DRIVER + 0x88)
    )
    stream = listen(kernel, tmp_path, opened)
    assert stream.crash() is None
    assert any("assertion Assertion failed" in record.text for record in stream.tail())


def test_a_break_in_that_is_asked_for_meanwhile_hides_no_assertion(
    tmp_path: Path, opened: list[KdDebugStream | SerialTarget]
) -> None:
    stream = listen(asserting(DRIVER + 0x88), tmp_path, opened, break_in=True)
    crash = stream.crash()
    assert crash
    assert crash.notes[0].startswith("At winvm.sys+0x88. ")
