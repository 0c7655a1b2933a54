"""A live bugcheck is reported as a dump of it would be: unwound, symbolised, in time also on a slow line."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from harness.commands.kd import Shown
from harness.crash.analysis import Circumstances, SeesCrash, analyse
from harness.deadline import Deadline
from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.stream import KdDebugStream
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.text import page
from tests.fakes.emulated import BASE, STACK, X64, Emulated, Stop, address_of, build
from tests.fakes.kd_lines import SerialTarget
from tests.fakes.kd_listening import FATAL, Bench, Listening
from tests.fakes.kd_machine import ENTRIES, MODULE_LIST, FakeKernel, exception, printed
from tests.fakes.kd_slow_line import DRIVER, bugcheck_on_slow_line

BAUD = 115_200
SECONDS = 2.0


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_a_report_over_a_slow_serial_line_is_whole_and_in_time() -> None:
    halted, event, chain = bugcheck_on_slow_line(BAUD)
    assert event.report
    assert [frame.place.address for frame in event.report.stack[1:]] == chain
    assert event.fields["culprit"] == f"winvm.sys+{chain[3] - DRIVER:#x}"
    assert "images are known" in str(event.fields["unread"])
    assert event.time - halted.time < SECONDS


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("code"), X64)


@pytest.fixture(scope="module")
def stopped(built: Path) -> tuple[Emulated, Stop]:
    """The code, where `Many` has called `Leaf`."""
    pytest.importorskip("unicorn")
    emulated = Emulated(built, X64)
    found: list[Stop] = []
    many, leaf = address_of(built, "Many"), address_of(built, "Leaf")

    def visit(stop: Stop) -> None:
        if stop.registers["rip"] == leaf and many < stop.chain[0] < many + 0x100:
            found.append(stop)
            emulated.halt()

    emulated.run(address_of(built, "Start"), 3, visit, most=100_000)
    return emulated, found[0]


def halted_there(emulated: Emulated, stop: Stop, *, with_image: bool) -> FakeKernel:
    """A kernel that stands where the code stands, in a bugcheck for which its stack is blamed."""
    kernel = FakeKernel([printed(FATAL), exception(0x80000003, stop.registers["rip"]), printed("written\n")])
    kernel.rcx.append(3)
    kernel.bugchecked(0xE3, 1, 2, 3, 0)
    for start, size in ((BASE, len(emulated.image) if with_image else 0x1000), (STACK, 0x80000)):
        for at in range(start, start + size, 0x1000):
            kernel.write(at, emulated.read(at, 0x1000))
    name = r"\??\C:\code.sys".encode("utf-16-le")
    entry = struct.pack("<QQ", MODULE_LIST, MODULE_LIST).ljust(0x30, b"\0")
    entry += struct.pack("<QQI4xHHIQ", BASE, 0, len(emulated.image), len(name), len(name), 0, ENTRIES + 0x100)
    kernel.write(ENTRIES, entry.ljust(0x100, b"\0") + name)
    registers = {name: value for name, value in stop.registers.items() if name != "rcx"}
    kernel.contexts[0] = kd_context.with_registers(kernel.contexts[0], **registers)
    return kernel


@pytest.mark.parametrize("with_image", [True, False], ids=["image in memory", "image at hand"])
def test_frames_have_their_symbols_from_the_pdb_at_hand(
    bench: Bench,
    built: Path,
    stopped: tuple[Emulated, Stop],
    with_image: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    emulated, stop = stopped
    kernel = halted_there(emulated, stop, with_image=with_image)
    target = SerialTarget(kernel)
    host = Listening(KdcomWire(target.line, "line"), symbols=SymbolPath("", folders=[built.parent]))
    bench._open += [host, target]
    host.wait(lambda: host.text.endswith("written\n"))
    (event,) = host.of("bugcheck")
    report = event.report
    assert report
    assert [frame.place.address for frame in report.stack[1:]][: len(stop.chain)] == list(stop.chain)
    functions = [frame.place.frames[-1].function for frame in report.stack]
    assert functions[:3] == ["Leaf", "Many", "Alloca"]
    assert "Start" in functions
    assert report.registers["rip"] == stop.registers["rip"]
    assert report.fault
    assert report.fault.module == "code.sys"
    frames = event.fields["frames"]
    assert isinstance(frames, list)
    assert str(frames[0]["symbol"]).startswith("Leaf (")
    Shown(as_json=False)(event)
    said = capsys.readouterr().out
    for line in page(report):
        assert click.unstyle(line).strip() in said
    assert "live kernel, x64: build 19045" in said
    assert "Many (" in said


def test_a_break_in_names_the_frames_of_every_processor(
    bench: Bench, built: Path, stopped: tuple[Emulated, Stop], capsys: pytest.CaptureFixture[str]
) -> None:
    emulated, stop = stopped
    kernel = halted_there(emulated, stop, with_image=True)
    kernel.script.clear()
    kernel.rcx.clear()
    kernel.contexts[1] = kernel.contexts[0]
    target = SerialTarget(kernel)
    host = Listening(KdcomWire(target.line, "line"), symbols=SymbolPath("", folders=[built.parent]))
    bench._open += [host, target]
    host.host.break_in()
    host.wait(lambda: bool(host.of("break-in")))
    (event,) = host.of("break-in")
    stacks = event.fields["stacks"]
    assert isinstance(stacks, dict)
    assert [str(frame["symbol"]).partition(" ")[0] for frame in stacks["1"]][:3] == ["Leaf", "Many", "Alloca"]
    Shown(as_json=False)(event)
    said = capsys.readouterr().out
    assert "processor 1" in said
    assert "Many (" in said
    assert "signature" not in said


def test_a_crash_without_a_dump_is_analysed_by_what_the_debugger_read(
    built: Path, stopped: tuple[Emulated, Stop], tmp_path: Path
) -> None:
    """As while a kernel is held: it has not written its dump."""
    emulated, stop = stopped
    target = SerialTarget(halted_there(emulated, stop, with_image=True))
    stream = KdDebugStream(KdcomWire(target.line, "line"), tmp_path / "dbgprint.log", "nonce")
    try:
        stream.hold_crashes()
        deadline = Deadline.after(20.0)
        while not stream.held:
            assert not deadline.expired
        assert isinstance(stream, SeesCrash)
        crash = stream.crash()
        assert crash
        around = Circumstances("a.scenario", "code.sys")
        found = analyse(crash, around, tmp_path, built.parent, stream.crash_report())
        stream.rearm()
        assert stream.crash_report() is None
    finally:
        stream.close()
        target.close()
    assert found["signature"] == "e3-code.sys-Leaf"
    named = [str(frame["symbol"]).partition(" ")[0] for frame in found["stack"]]
    assert named[:3] == ["Leaf", "Many", "Alloca"]
    assert found["likely_cause"].startswith("code.sys, Leaf (")
    assert not found["warnings"]
