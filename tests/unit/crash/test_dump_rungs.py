"""The ladder's rungs at work: a guest that comes back late, a real NTFS disk, memory written by QEMU."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.crash.dump_ladder import Rung, climb
from harness.crash.dump_rung_registry import RUNGS, Crashed, RegisteredRung, Turn
from harness.crash.dump_rungs import disk_rung, guest_rung, memory_rung
from harness.crash.dump_source import KernelDump
from harness.deadline import Deadline
from harness.dumps.formats.reader import summarise
from harness.errors import DeadlineError, DumpError, HostError, TransportError
from harness.machine.protocol import MemoryDump
from harness.offline.windows import SYSTEM_HIVE
from harness.outcome import KernelCrash
from tests.fakes import dump_writer
from tests.fakes.files import FakeFileTransfer
from tests.fakes.machine import FakeMachine
from tests.fakes.windows_disk import needs_fuse, system_hive, windows_disk

CRASH = KernelCrash("bugcheck", 0xD1, dump_writer.PARAMETERS, time=0.0)
EARLIER = KernelCrash("bugcheck", 0x50, (1, 2, 3, 4), time=0.0)
PATH = r"C:\Windows\MEMORY.DMP"
WHOLE = dump_writer.full(dump_writer.guest())


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = FakeMachine(tmp_path / "guest")
    made.start(Deadline.after(5))
    return made


class Rebooting:
    """A guest that refuses connections, then has a dump that grows, then a whole one."""

    def __init__(self, *states: bytes | None) -> None:
        self.states = list(states)
        self.opened: list[FakeFileTransfer] = []

    def __call__(self) -> FakeFileTransfer:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state is None:
            raise TransportError("Connection refused.")
        files = FakeFileTransfer()
        files.put(PATH, state)
        self.opened.append(files)
        return files


def test_the_guest_is_waited_for_until_its_dump_is_whole(tmp_path: Path) -> None:
    guest = Rebooting(None, WHOLE[:100], WHOLE)
    guest_rung(guest, PATH, settled_s=0.01).fetch(tmp_path / "memory.dmp", Deadline.after(10))
    assert (tmp_path / "memory.dmp").read_bytes() == WHOLE
    assert len(guest.opened) == 3
    assert all(files.closed for files in guest.opened)


def test_a_guest_that_never_comes_back_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DeadlineError, match=r"no dump within 0\.1 s: Connection refused"):
        guest_rung(Rebooting(None), PATH, settled_s=0.01).fetch(tmp_path / "memory.dmp", Deadline.after(0.1))


def test_memory_comes_as_qemu_s_windows_dump(machine: FakeMachine, tmp_path: Path) -> None:
    machine.memory[MemoryDump.WINDOWS] = WHOLE
    memory_rung(machine).fetch(tmp_path / "memory.dmp", Deadline.after(10))
    assert summarise(tmp_path / "memory.dmp").bugcheck


def test_memory_without_the_guest_s_driver_needs_a_converter(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    machine.memory[MemoryDump.ELF] = b"\x7fELF"
    with pytest.raises(HostError, match=r"invalid vmcoreinfo note size.*elf2dmp is not installed"):
        memory_rung(machine).fetch(tmp_path / "memory.dmp", Deadline.after(10))
    converter = tmp_path / "elf2dmp"
    # It is confined, and so carries what it converts to.
    copy = b'#!/bin/sh\n/usr/bin/tail -c %d "$0" >"$2"\nexit\n'
    converter.write_bytes(copy % len(WHOLE) + WHOLE)
    converter.chmod(0o755)
    memory_rung(machine).fetch(tmp_path / "memory.dmp", Deadline.after(10))
    assert (tmp_path / "memory.dmp").read_bytes() == WHOLE
    converter.write_bytes(copy % 7 + b"no dump")
    with pytest.raises(HostError, match="elf2dmp failed"):
        memory_rung(machine).fetch(tmp_path / "memory.dmp", Deadline.after(10))
    assert not list(tmp_path.glob("*.elf"))


@needs_fuse()
def test_the_disk_gives_the_dump_of_this_crash(machine: FakeMachine, tmp_path: Path) -> None:
    system_hive(tmp_path / "SYSTEM")
    (tmp_path / "MEMORY.DMP").write_bytes(WHOLE)
    files = {
        SYSTEM_HIVE: tmp_path / "SYSTEM",
        "pagefile.sys": tmp_path / "SYSTEM",
        "Windows/MEMORY.DMP": tmp_path / "MEMORY.DMP",
    }
    windows_disk(tmp_path, files).rename(machine.disk)
    disk_rung(machine, CRASH).fetch(tmp_path / "memory.dmp", Deadline.after(60))
    assert "stop" in machine.calls, "nobody else may have the disk open"
    assert (tmp_path / "memory.dmp").read_bytes() == WHOLE
    with pytest.raises(DumpError, match=r"MEMORY\.DMP: The dump holds bugcheck 0xd1"):
        disk_rung(machine, EARLIER).fetch(tmp_path / "memory.dmp", Deadline.after(60))


@needs_fuse()
@pytest.mark.parametrize("place", ["pagefile.sys", "winvm/dedicated.dmp"])
def test_a_dump_that_windows_has_not_copied_out_is_found(
    place: str, machine: FakeMachine, tmp_path: Path
) -> None:
    system_hive(tmp_path / "SYSTEM")
    (tmp_path / "old").write_bytes(b"PAGEDU64 of last week")
    (tmp_path / "dump").write_bytes(WHOLE + bytes(1 << 20))
    files = {
        SYSTEM_HIVE: tmp_path / "SYSTEM",
        "pagefile.sys": tmp_path / "SYSTEM",
        place: tmp_path / "dump",
        "Windows/MEMORY.DMP": tmp_path / "old",
    }
    windows_disk(tmp_path, files).rename(machine.disk)
    folder = tmp_path / "crash"
    folder.mkdir()
    absent = guest_rung(Rebooting(None), PATH, settled_s=0.01)
    before = [dataclasses.replace(absent, seconds=0.1)]
    won = climb(CRASH, folder, before, memory_rung(machine), [disk_rung(machine, CRASH)], Deadline.after(60))
    assert (won.rung, won.cut) == ("offline disk", False)
    assert [note.partition(":")[0] for note in won.notes] == [
        "dump from the guest",
        "dump from the host memory",
    ]
    assert summarise(folder / "memory.dmp").bugcheck


def test_a_rung_is_registered_by_one_line(machine: FakeMachine, tmp_path: Path) -> None:
    asked: list[Crashed] = []

    def given(crashed: Crashed) -> Rung:
        asked.append(crashed)
        return Rung("debugger", 5.0, lambda file, _deadline: file.write_bytes(WHOLE))

    def refused() -> FakeFileTransfer:
        raise TransportError("Connection refused.")

    registered = (
        RegisteredRung(Turn.BEFORE, 5.0, given),
        RegisteredRung(Turn.AFTER, 7.0, lambda _crashed: None),
    )
    source = KernelDump(CRASH, PATH, lambda _machine: refused(), lambda: False, registered)
    found = source.collect(tmp_path, machine, FakeFileTransfer(), Deadline.after(10))
    assert (found.file, found.notes) == ("memory.dmp", ("memory.dmp is from the debugger.",))
    assert (tmp_path / "memory.dmp").read_bytes() == WHOLE
    assert [(one.crash, one.guest_path) for one in asked] == [(CRASH, PATH)]
    assert source.seconds == 12.0
    assert [rung.turn for rung in RUNGS] == [Turn.BEFORE, Turn.RESERVE, Turn.AFTER]
