"""Stacks that are unwound over the debugger line: of a bugcheck, and of every processor in a break-in."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.call_stack import CallStacks, TargetMemory
from harness.debuggers.kd.halted import HaltedTarget, Module
from harness.debuggers.kd.link import TargetRestartedError
from harness.debuggers.kd.manipulate import Api
from harness.debuggers.kd.show import summary_line
from harness.errors import KdError
from tests.fakes.kd_listening import FATAL, Bench
from tests.fakes.kd_machine import MODULES, STACK, FakeKernel, exception, printed
from tests.fakes.unwind_image import UnwindImage, slot

DRIVER = MODULES[1][1]
PC = DRIVER + 0x1050


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def with_driver(kernel: FakeKernel) -> FakeKernel:
    """Puts a driver with unwind data into memory, and a stack of three frames with stale words between."""
    image = UnwindImage()
    for start in (0x1000, 0x2000, 0x3000):
        image.function(start, start + 0x100, image.info([slot(4, 2, 7)], prologue=4))  # 0x40 bytes
        image.call(start + 0x50)
    for page in range(0, len(image.data), 0x1000):
        kernel.write(DRIVER + page, bytes(image.data[page : page + 0x1000]))
    words = [0] * 64
    words[3] = words[12] = DRIVER + 0x3050  # stale
    words[8], words[17], words[26] = DRIVER + 0x2050, DRIVER + 0x3050, 0
    kernel.write(STACK, struct.pack("<64Q", *words))
    return kernel


CHAIN = ["winvm.sys+0x1050", "winvm.sys+0x2050", "winvm.sys+0x3050"]


def test_a_bugcheck_comes_with_its_call_stack_and_culprit(bench: Bench) -> None:
    kernel = with_driver(FakeKernel([printed(FATAL), exception(0x80000003, PC), printed("dump written\n")]))
    kernel.rcx.append(3)
    kernel.bugchecked(0xE3, 1, 2, 3, 0)
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text.endswith("dump written\n"))
    found = host.of("bugcheck")[0].fields
    frames = found["frames"]
    assert isinstance(frames, list)
    assert [frame["at"] for frame in frames] == CHAIN
    assert [frame["found"] for frame in frames] == ["registers", "unwound", "unwound"]
    assert found["culprit"] == "winvm.sys+0x1050"
    assert "by winvm.sys+0x1050" in summary_line("bugcheck", found)
    reads = [one for one in kernel.asked if one.api == Api.READ_VIRTUAL]
    assert len(reads) < 60, "it is a slow line"


def test_a_break_in_has_the_stack_of_every_processor(bench: Bench) -> None:
    kernel = with_driver(FakeKernel([printed("up\n")]))
    kernel.contexts[1] = kd_context.with_registers(kernel.contexts[1], rip=PC, rsp=STACK)
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text == "up\n")
    host.host.break_in()
    host.wait(lambda: bool(host.of("break-in")))
    stacks = host.of("break-in")[0].fields["stacks"]
    assert isinstance(stacks, dict)
    assert set(stacks) == {"0", "1"}
    assert [frame["at"] for frame in stacks["1"]] == CHAIN


class Target(HaltedTarget):
    """A halted target that serves memory only."""

    def __init__(self, error: KdError | None = None) -> None:
        self.error = error
        self.asked: list[tuple[int, int]] = []

    def read(self, address: int, size: int) -> bytes:
        self.asked.append((address, size))
        if self.error:
            raise self.error
        return bytes(range(256)) * (size // 256 + 1) if address < 0x10000 else b""


def test_memory_is_read_once_and_in_bounded_pieces() -> None:
    target = Target()
    memory = TargetMemory(target)
    assert memory.read(0x1001, 3) == memory.read(0x1001, 3) == b"\1\2\3"
    assert target.asked == [(0x1000, 128)]
    assert len(memory.read(0x4000, 1 << 20)) == 2048
    assert memory.read(0x20000, 8) == b""


def test_a_silent_target_is_asked_once_and_one_that_restarted_is_reported() -> None:
    target = Target(KdError("silence"))
    memory = TargetMemory(target)
    assert [memory.read(0x1000, 8), memory.read(0x9000, 8)] == [b"", b""]
    assert len(target.asked) == 1
    with pytest.raises(TargetRestartedError):
        TargetMemory(Target(TargetRestartedError("gone"))).read(0x1000, 8)


def test_when_the_time_is_over_nothing_is_read() -> None:
    target = Target()
    assert TargetMemory(target, seconds=0.0).read(0x1000, 8) == b""
    assert target.asked == []


def test_a_stack_of_nobodys_code_is_one_frame() -> None:
    stacks = CallStacks(Target(), [Module("\\x\\a.sys", 0xFFFFF80000000000, 0x1000)])
    assert [frame.place.address for frame in stacks.of({"rip": 0xFFFF900000000000, "rsp": 0x20000})] == [
        0xFFFF900000000000
    ]
