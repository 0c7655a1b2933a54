"""What the live host reports of a bugcheck, depending on what can be read of the halted kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from harness.debuggers.kd.bugcheck import Bugcheck, BugcheckText, described
from harness.debuggers.kd.manipulate import Api, Manipulate
from harness.debuggers.kd.net.wire import KdnetWire
from harness.debuggers.kd.packets import Packet
from harness.debuggers.kd.show import summary_line
from tests.fakes.kd_lines import UdpTarget, Weather
from tests.fakes.kd_listening import FATAL, KEY, STORM, Bench, Listening
from tests.fakes.kd_machine import (
    BREAK_PC,
    DATA_LIST,
    MODULE_LIST,
    MODULES,
    STACK,
    FakeKernel,
    exception,
    load_symbols,
    printed,
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def bugcheck_script() -> list[Packet]:
    return [printed(FATAL[:30]), printed(FATAL[30:]), exception(0x80000003), printed("dump written\n")]


@pytest.mark.parametrize("weather", [{}, STORM], ids=str)
def test_a_bugcheck_is_reported_with_what_can_be_read(bench: Bench, weather: dict[str, Any]) -> None:
    kernel = FakeKernel(bugcheck_script())
    kernel.rcx.append(3)
    kernel.bugchecked(0xD1, 0x10, 2, 1, 0xFFFFF80200001234)
    host, _ = bench.kdnet(kernel, Weather(**weather))
    host.wait(lambda: host.text.endswith("dump written\n"))
    (event,) = host.of("bugcheck")
    found = event.fields
    assert (found["code"], found["parameters"]) == (0xD1, [0x10, 2, 1, 0xFFFFF80200001234])
    assert found["name"] == "DRIVER_IRQL_NOT_LESS_OR_EQUAL"
    assert "address touched 0x10; IRQL 0x2 (DISPATCH_LEVEL); access 0x1 (write)" in str(found["explanation"])
    line = summary_line("bugcheck", found)
    assert "DRIVER_IRQL_NOT_LESS_OR_EQUAL: A driver touched pageable" in line
    assert found["build"] == 19045
    assert found["modules"] == [{"path": path, "base": base, "size": size} for path, base, size in MODULES]
    assert found["stack"] == list(range(0x1000, 0x1080))
    registers = found["registers"]
    assert isinstance(registers, dict)
    assert (registers["rsp"], registers["rcx"], registers["rip"]) == (STACK, 3, BREAK_PC)
    assert found["fault"] == "winvm.sys+0x1234"


@pytest.mark.parametrize("code", [0x3B, 0x8E])
def test_registers_and_stack_are_those_of_the_fault(code: int, bench: Bench) -> None:
    record, rip = STACK + 0x800, 0xFFFFF80200005678
    kernel = FakeKernel(bugcheck_script())
    kernel.rcx.append(3)
    kernel.bugchecked(code, 0xC0000005, rip, record, 0)
    if code == 0x3B:  # CONTEXT: flags, Rsp, Rip
        kernel.write(record + 0x30, struct.pack("<I", 0x10001F))
        kernel.write(record + 0x98, struct.pack("<Q", STACK + 0x200))
        kernel.write(record + 0xF8, struct.pack("<Q", rip))
    else:  # KTRAP_FRAME
        kernel.write(record + 0x168, struct.pack("<Q", rip))
        kernel.write(record + 0x180, struct.pack("<Q", STACK + 0x200))
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text.endswith("dump written\n"))
    found = host.of("bugcheck")[0].fields
    registers, stack = found["registers"], found["stack"]
    assert isinstance(registers, dict)
    assert isinstance(stack, list)
    assert (registers["rsp"], registers["rip"]) == (STACK + 0x200, rip)
    assert stack[:2] == [0x1040, 0x1041]
    assert found["fault"] == "winvm.sys+0x5678"


@pytest.mark.parametrize(("code", "told"), [(0xC0000005, True), (0xC0000094, False)])
def test_what_the_code_did_comes_from_the_exception_record(code: int, told: bool, bench: Bench) -> None:
    record, rip = STACK + 0x800, 0xFFFFF80200005678
    kernel = FakeKernel(bugcheck_script())
    kernel.rcx.append(3)
    kernel.bugchecked(0x7E, 0xFFFFFFFFC0000005, rip, record, 0)
    kernel.write(record, struct.pack("<IIQQI4x2Q", code, 0, 0, rip, 2, 1, 0x10).ljust(0x98, b"\0"))
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text.endswith("dump written\n"))
    said = str(host.of("bugcheck")[0].fields["explanation"])
    assert said.endswith("The code wrote to address 0x10, through a null pointer.") is told


def test_a_bugcheck_whose_memory_cannot_be_read_is_reported_as_printed(bench: Bench) -> None:
    kernel = FakeKernel(bugcheck_script())
    kernel.rcx.append(3)
    kernel.memory.clear()
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text.endswith("dump written\n"))
    (event,) = host.of("bugcheck")
    assert (event.fields["code"], event.fields["stack"]) == (0xD1, [])
    unread = [f"Memory at {address:#x} cannot be read." for address in (DATA_LIST, MODULE_LIST)]
    assert event.fields["unread"] == unread


def test_a_bugcheck_without_the_halt_that_should_follow_is_reported(bench: Bench) -> None:
    wire = KdnetWire(KEY, 0, retry_s=0.005)
    host = Listening(wire, patience_s=0.2)
    target = UdpTarget(wire.port, KEY, FakeKernel([printed(FATAL)]))
    bench._open += [target, host]
    host.wait(lambda: bool(host.of("bugcheck")))
    assert host.of("bugcheck")[0].fields["halted"] is False
    target.restart(FakeKernel([printed(FATAL)]))
    host.wait(lambda: len(host.of("bugcheck")) == 2)


def test_of_another_machine_no_registers_are_made_up(bench: Bench) -> None:
    kernel = FakeKernel([printed("up\n")])
    kernel.machine = 0xAA64
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text == "up\n")
    host.host.break_in()
    host.wait(lambda: bool(host.of("break-in")))
    assert host.of("break-in")[0].fields == {
        "processors": 2, "unread": ["Registers of machine type 0xaa64 are not supported; only x64 is."]
    }  # fmt: skip
    kernel.rcx.append(3)
    kernel.script.extend(bugcheck_script())
    host.wait(lambda: host.text.endswith("dump written\n"))
    found = host.of("bugcheck")[0].fields
    assert found["code"] == 0xD1
    assert "registers" not in found
    assert found["modules"]
    assert not [request for request in kernel.asked if request.api == Api.SET_CONTEXT]


class Mute(FakeKernel):
    """A kernel that answers no request; it still continues when asked to."""

    def reply(self, request: Manipulate) -> bytes:
        self.asked.append(request)
        return b""


def test_a_kernel_that_answers_nothing_is_reported_in_time_and_let_go_on(bench: Bench) -> None:
    wire = KdnetWire(KEY, 0, retry_s=0.005)
    host = Listening(wire, patience_s=0.3)
    target = UdpTarget(wire.port, KEY, Mute([load_symbols("a.sys", 1, 1), *bugcheck_script()]))
    bench._open += [target, host]
    host.wait(lambda: host.text.endswith("dump written\n"))
    (event,) = host.of("bugcheck")
    assert (event.fields["code"], event.fields["parameters"]) == (0xD1, [0x10, 2, 1, 0xFFFFF80200001234])
    assert len(host.of("load-symbols")) == 1
    assert host.of("exception")


def test_a_bugcheck_that_prints_nothing_is_found_in_memory(bench: Bench) -> None:
    kernel = FakeKernel([exception(0x80000003), printed("on\n")])
    kernel.rcx.append(4)
    kernel.bugchecked(0xE2, 1, 2, 3, 4)
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: bool(host.of("bugcheck")) and host.text == "on\n")
    assert host.of("bugcheck")[0].fields["code"] == 0xE2


def test_the_break_after_a_dump_is_not_continued_for_ever(bench: Bench) -> None:
    kernel = FakeKernel([printed(FATAL), exception(0x80000003), exception(0x80000003), printed("never\n")])
    kernel.rcx.extend([3, 4])
    host, target = bench.kdnet(kernel)
    host.wait(lambda: bool(host.of("held")))
    assert len(host.of("bugcheck")) == 1
    kernel_2 = FakeKernel([printed("up again\n")])
    target.restart(kernel_2)
    host.wait(lambda: host.text.endswith("up again\n"))
    assert "never" not in host.text
    assert not host.host.held


def test_a_code_that_is_printed_with_its_sign_extended_has_32_bits() -> None:
    text = "*** Fatal System Error: 0xffffffffc000021a\n    (0x0000000000000001,0x2,0x3,0x4)\n"
    found = BugcheckText().feed(text)
    assert found == Bugcheck(0xC000021A, (1, 2, 3, 4))
    assert described(found)["name"] == "WINLOGON_FATAL_ERROR"
