"""A kernel halted in a bugcheck tells of its structures what a full dump of the same memory tells."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import click
import pytest

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.evidence import SECONDS
from harness.debuggers.kd.host import Event
from harness.debuggers.kd.manipulate import Api, Manipulate, Version
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.kerneldump import read_header
from harness.dumps.formats.pagetables import PagedMemory
from harness.dumps.formats.physical import physical_memory
from harness.dumps.formats.reader import summarise
from harness.dumps.summary import Summary
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.text import page
from tests.fakes import dump_writer as writer
from tests.fakes import kernel_structures as fake
from tests.fakes.kd_lines import SerialTarget
from tests.fakes.kd_listening import FATAL, Listening
from tests.fakes.kd_machine import BREAK_PC, FakeKernel, exception, printed
from tests.fakes.kd_slow_line import SlowLine

CELL = fake.RING + 0x3000
"""Holds the pointer to the debugger data block, and the bugcheck's code and parameters."""
POWER = (3, fake.LOWER, 0, fake.IRP)


class DumpedKernel(FakeKernel):
    """Serves the memory of a full dump, halted in the dump's bugcheck."""

    def __init__(self, made: writer.Guest, folder: Path, code: int, *parameters: int) -> None:
        super().__init__([printed(FATAL), exception(0x80000003, BREAK_PC), printed("dump written\n")])
        self.rcx.append(3)
        fake.poke(made, CELL, struct.pack("<6Q", writer.KDBG, code, *parameters))
        fake.poke(made, writer.KDBG + 0x88, struct.pack("<Q", CELL + 8))
        self.dump = writer.write(folder, fake.dump(made, code, *parameters))
        self._file = DumpFile(self.dump).__enter__()
        header = read_header(self._file)
        physical = physical_memory(self._file, header, [])
        assert physical
        self._paged = PagedMemory(self._file, physical, header.page_table, header.machine)
        context = bytes(kd_context.SIZE)
        self.contexts = [kd_context.with_registers(context, rip=writer.RIP, rsp=writer.RSP) for _ in range(2)]

    def close(self) -> None:
        self._file.__exit__(None, None, None)

    def reply(self, request: Manipulate) -> bytes:
        if request.api == Api.READ_VIRTUAL:
            address, count = struct.unpack_from("<QI", request.union)
            data = self._paged.read(address, count)
            status, union = (
                (0 if len(data) == count else 0xC0000001),
                struct.pack("<QII", address, count, len(data)),
            )
        elif request.api == Api.GET_VERSION:
            status, data = 0, b""
            union = Version(False, 19045, kd_context.AMD64, fake.NT, writer.LIST_HEAD, CELL).encode()
        else:
            return super().reply(request)
        return Manipulate(
            request.api, request.processor_level, request.processor, status, union, data
        ).encode()


def live(
    kernel: DumpedKernel, symbols: Path | None = None, *, baud: int = 0, hold: bool = False
) -> tuple[Event, Summary, float]:
    """The bugcheck's event and report, and the seconds since the halt."""
    target = SerialTarget(kernel, retry_s=1.0)
    line = SlowLine(target.line, baud) if baud else None
    path = SymbolPath("", folders=[symbols]) if symbols else None
    host = Listening(KdcomWire(line.line if line else target.line, "line"), hold=hold, symbols=path)
    with contextlib.ExitStack() as stack:
        for one in (kernel, line, target, host):
            if one is not None:
                stack.callback(one.close)
        host.wait(lambda: bool(host.of("held")) if hold else host.text.endswith("dump written\n"))
        (event,) = host.of("bugcheck")
        assert event.report
        return event, event.report, event.time - host.of("exception")[0].time


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> fake.Built:
    return fake.build(tmp_path_factory.mktemp("nt"))


def test_without_symbols(tmp_path: Path) -> None:
    kernel = DumpedKernel(fake.crashed(), tmp_path, 0x9F, *POWER)
    _, report, _ = live(kernel)
    dumped = summarise(kernel.dump)
    assert report.facts.irps == dumped.facts.irps
    assert report.facts.pool == dumped.facts.pool
    assert set(report.facts.needs_symbols) == set(dumped.facts.needs_symbols)
    assert report.facts.debug_output[-3:] == ("older line", "bad: about to fail", "bad: \x1b[31mfailing")
    assert [one.number for one in report.processors] == [0, 1]
    text = click.unstyle("\n".join(page(report)))
    assert "bad: about to fail" in text
    assert "processor 1" in text


def test_with_the_kernels_pdb(built: fake.Built, tmp_path: Path) -> None:
    kernel = DumpedKernel(fake.crashed(built), tmp_path, 0x133, 0, 0x500, 0x500, 0)
    _, report, _ = live(kernel, built.folder)
    path = SymbolPath("", folders=[built.folder])
    dumped = summarise(kernel.dump, files=path.file, pdbs=path.pdb)
    assert [(one.thread_id, one.name) for one in report.threads] == [(fake.FIRST, "System")]
    assert [frame.place for frame in dumped.threads[0].stack] == [
        frame.place.__class__(frame.place.address, frame.place.module, frame.place.offset)
        for frame in report.threads[0].stack
    ]
    assert "KiBugCheckDriver" not in report.facts.needs_symbols


@pytest.mark.parametrize("wrapped", [True, False])
def test_of_a_large_buffer_only_the_end_is_read(wrapped: bool, tmp_path: Path) -> None:
    made = fake.crashed()
    lines = b"".join(b"line %04d\n" % number for number in range(400))
    fake.poke(made, fake.RING, lines.ljust(fake.RING_SIZE, b"\0"))
    write = fake.RING + (100 if wrapped else len(lines))
    fake.poke(made, fake.RING + 0x2000, struct.pack("<QIIQ", fake.RING, len(lines), wrapped, write))
    _, report, _ = live(DumpedKernel(made, tmp_path, 0xD1, 0x10, 2, 1, writer.RIP))
    output = report.facts.debug_output
    assert 140 < len(output) < 160
    assert output[-1] == ("line 0009" if wrapped else "line 0399")


def test_a_slow_line_gives_what_fits_into_two_seconds_and_says_so(built: fake.Built, tmp_path: Path) -> None:
    kernel = DumpedKernel(fake.crashed(built), tmp_path, 0x9F, *POWER)
    event, report, seconds = live(kernel, built.folder, baud=115_200)
    assert seconds < 2.0
    assert report.facts.irps
    assert f"read for {SECONDS:g} s only" in str(event.fields.get("unread")) or report.threads


def test_a_kernel_that_stays_halted_gives_all(built: fake.Built, tmp_path: Path) -> None:
    kernel = DumpedKernel(fake.crashed(built), tmp_path, 0x9F, *POWER)
    event, report, _ = live(kernel, built.folder, baud=115_200, hold=True)
    assert report.threads
    assert report.processors
    assert report.facts.debug_output
    assert "unread" not in event.fields
