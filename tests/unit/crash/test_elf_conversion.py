"""QEMU's ELF dump becomes a Windows dump by what the memory itself says."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from harness.crash.dump_rungs import memory_rung
from harness.crash.elf_conversion import convert
from harness.deadline import Deadline
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.elfcore import ElfCore
from harness.dumps.formats.reader import summarise
from harness.errors import DumpError, WinvmError
from harness.machine.protocol import MemoryDump
from tests.fakes import dump_writer as writer
from tests.fakes.elf_core import crashed, elf
from tests.fakes.machine import FakeMachine


def converted(folder: Path, data: bytes) -> Path:
    core, made = folder / "memory.elf", folder / "memory.dmp"
    core.write_bytes(data)
    convert(core, made, Deadline.after(30))
    return made


def test_the_dump_holds_bugcheck_registers_modules_and_stack(tmp_path: Path) -> None:
    found = summarise(converted(tmp_path, elf(crashed())))
    assert found.bugcheck
    assert (found.bugcheck.code, tuple(found.bugcheck.parameters)) == (0xD1, writer.PARAMETERS)
    assert found.registers["rip"] == writer.RIP
    assert found.registers["rsp"] == writer.RSP
    assert [module.name for module in found.modules][:2] == ["ntoskrnl.exe", "bad.sys"]
    assert found.system["uptime_s"] == 123.0
    assert not found.truncated
    assert found.stack[0].place.address == writer.RIP
    whole = summarise(writer.write(tmp_path, writer.full(crashed())))
    assert found.stack == whole.stack


def test_it_is_a_rung_that_needs_no_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = FakeMachine(tmp_path / "guest")
    machine.start(Deadline.after(5))
    machine.memory[MemoryDump.ELF] = elf(crashed())
    memory_rung(machine).fetch(tmp_path / "memory.dmp", Deadline.after(10))
    assert summarise(tmp_path / "memory.dmp").bugcheck
    assert not list(tmp_path.glob("*.elf"))


def test_memory_that_is_zero_is_a_hole(tmp_path: Path) -> None:
    made = crashed()
    made.next_pfn = 0x1000
    for _ in range(1024):
        made.new_page()
    file = converted(tmp_path, elf(made))
    assert file.stat().st_size == 0x2000 + writer.PAGE * len(made.pages)
    assert file.stat().st_blocks * 512 < file.stat().st_size // 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x7fELF", "is no ELF dump of an x64 machine"),
        (b"MZ" + bytes(100), "is no ELF dump of an x64 machine"),
        (elf(crashed())[:200], "holds no memory, or no registers"),
        (elf(writer.guest()), "shows no NT kernel"),
        (elf(crashed(length=0x100)), "shows no debugger data, or encodes them"),
        (elf(crashed(code=0)), "recorded no bugcheck"),
    ],
)
def test_what_cannot_be_converted_says_why(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(DumpError, match=says):
        converted(tmp_path, data)


def test_damaged_files_end_in_an_error_or_a_dump(tmp_path: Path) -> None:
    whole, chance = elf(crashed()), random.Random(5)
    for _ in range(150):
        data = bytearray(whole[: chance.choice((len(whole), chance.randrange(64, len(whole))))])
        for _ in range(chance.randrange(1, 9)):
            data[chance.randrange(min(len(data), 0x800))] = chance.randrange(256)
        try:
            converted(tmp_path, bytes(data))
        except WinvmError as error:
            assert str(error)


def test_what_a_real_qemu_writes_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "real.elf"
    machine = ["qemu-system-x86_64", "-S", "-M", "pc", "-m", "16", "-accel", "tcg", "-display", "none"]
    asked = [
        {"execute": "qmp_capabilities"},
        {"execute": "dump-guest-memory", "arguments": {"paging": False, "protocol": f"file:{file}"}},
        {"execute": "quit"},
    ]
    subprocess.run(
        [*machine, "-nodefaults", "-qmp", "stdio"],
        input="".join(f"{json.dumps(one)}\n" for one in asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    data = bytearray(file.read_bytes())
    assert data[18] == 3  # a processor that has not left real mode makes it a file of an i386
    data[18] = 0x3E
    file.write_bytes(data)
    with DumpFile(file) as dump:
        found = ElfCore(dump)
        (processor,) = found.processors
        assert (processor.registers["cs"], processor.registers["rip"]) == (0xF000, 0xFFF0)
        reset = found.offset(0xFFFFF)
        assert reset is not None
        assert dump.read(reset + 0xFF0, 1) == b"\xea"  # the far jump at the reset vector
        assert sum(count for first, count, _ in found.runs if first < 0x1000) == 16 << 20 >> 12
        assert found.offset(0x1000) is None
