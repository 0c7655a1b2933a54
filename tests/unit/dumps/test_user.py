"""User minidumps: every thread, three architectures, unloaded modules, memory in either list."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import click
import pytest

from harness.dumps.formats.reader import summarise
from harness.dumps.pdb import PdbIdentity
from harness.dumps.signature import dump_signature
from harness.dumps.summary import Found, Summary
from harness.dumps.text import page
from tests.fakes import dump_writer as writer
from tests.fakes.user_dump import IMAGE, UserDump, context

STACK = 0x10000000


def stack(*words: tuple[int, int], size: int = 0x2000) -> bytes:
    data = bytearray(size)
    for offset, value in words:
        struct.pack_into("<Q", data, offset, value)
    return bytes(data)


WORDS = ((0xFF8, IMAGE + 0x2222), (0x1008, IMAGE + 0x3333), (0x1100, IMAGE + 0x4444))


def read(dump: UserDump, folder: Path) -> Summary:
    return summarise(writer.write(folder, dump.encode()))


def offsets(summary: Summary) -> list[int | None]:
    return [frame.place.offset for frame in summary.stack]


def test_a_crashed_program_is_no_crashed_kernel(tmp_path: Path) -> None:
    dump = UserDump(threads=[(77, context("x64", IMAGE + 0x1234, STACK + 0xFF0))])
    summary = read(dump, tmp_path)
    assert summary.bugcheck is None
    text = click.unstyle("\n".join(page(summary)))
    assert "KMODE" not in text
    assert "Kernel code" not in text
    assert "exception   0xc0000005 (access violation): the code wrote to address 0x10" in text
    assert dump_signature(summary) == "c0000005-app.exe"


def test_stacks_of_a_full_dump_come_from_its_memory(tmp_path: Path) -> None:
    registers = context("x64", IMAGE + 0x1234, STACK + 0xFF0)
    dump = UserDump(threads=[(77, registers)], memory64=[(STACK, stack(*WORDS))])
    assert offsets(read(dump, tmp_path)) == [0x1234, 0x2222, 0x3333, 0x4444]


def test_a_thread_that_says_its_stack_lies_nowhere_has_it_in_the_memory_list(tmp_path: Path) -> None:
    registers = context("x64", IMAGE + 0x1234, STACK + 0xFF0)
    data = bytearray(UserDump(threads=[(77, registers)], memory64=[(STACK, stack(*WORDS))]).encode())
    at = data.index(struct.pack("<II", 1, 77)) + 4  # the one thread's record
    struct.pack_into("<QII", data, at + 24, STACK + 0xFF0, 0x1010, 0)
    summary = summarise(writer.write(tmp_path, bytes(data)))
    assert offsets(summary) == [0x1234, 0x2222, 0x3333, 0x4444]


def test_pieces_of_memory_that_overlap_are_read_as_one(tmp_path: Path) -> None:
    whole = stack(*WORDS)
    dump = UserDump(
        threads=[(77, context("x64", IMAGE + 0x1234, STACK + 0x1008))],
        memory=[(STACK + 0xFF0, whole[0xFF0:]), (STACK + 0x1000, whole[0x1000:0x1080])],
    )
    assert offsets(read(dump, tmp_path)) == [0x1234, 0x3333, 0x4444]


def test_a_jump_into_an_unloaded_module_names_it_and_goes_on(tmp_path: Path) -> None:
    dump = UserDump(
        address=0x7FFB00001234,
        threads=[(77, context("x64", 0x7FFB00001234, STACK + 0xFF8))],
        unloaded=[("gone.dll", 0x7FFB00000000, 0x8000)],
        memory=[(STACK, stack(*WORDS))],
    )
    summary = read(dump, tmp_path)
    assert [(m.name, m.size) for m in summary.unloaded] == [("gone.dll", 0x8000)]
    assert summary.stack[0].place.module == "<Unloaded gone.dll>"
    assert (summary.stack[1].place.offset, summary.stack[1].found) == (0x2222, Found.LEAF)


def test_every_thread_has_its_stack(tmp_path: Path) -> None:
    dump = UserDump(
        threads=[
            (5, context("x64", IMAGE + 0x1234, STACK)),
            (6, context("x64", IMAGE + 0x5555, STACK + 0xFF0)),
        ],
        memory64=[(STACK, stack(*WORDS))],
    )
    summary = read(dump, tmp_path)
    assert [thread.thread_id for thread in summary.threads] == [5, 6]
    assert [frame.place.offset for frame in summary.threads[1].stack] == [0x5555, 0x2222, 0x3333, 0x4444]
    assert "thread 0x6" in click.unstyle("\n".join(page(summary)))


def test_x86_registers_and_the_frames_of_ebp(tmp_path: Path) -> None:
    data = bytearray(0x100)
    struct.pack_into("<II", data, 0x10, 0x12FE50, 0x404200)
    struct.pack_into("<II", data, 0x50, 0, 0x404300)
    code = b"\xe8\1\2\3\4"
    dump = UserDump(
        arch="x86",
        address=0x40429E,
        modules=[("app.exe", 0x400000, 0x10000)],
        threads=[(77, context("x86", 0x40429E, 0x12FE04, 0x12FE10))],
        memory=[(0x12FE00, bytes(data)), (0x4041F0, bytes(11) + code), (0x4042F0, bytes(11) + code)],
    )
    summary = read(dump, tmp_path)
    assert (summary.arch, summary.registers["eip"], summary.registers["esp"]) == ("x86", 0x40429E, 0x12FE04)
    assert summary.registers["eax"] == 6
    assert [(frame.place.offset, frame.found) for frame in summary.stack] == [
        (0x429E, Found.REGISTERS), (0x4200, Found.FRAME_POINTER), (0x4300, Found.FRAME_POINTER),
    ]  # fmt: skip
    assert not summary.warnings
    assert "eip" in "\n".join(page(summary))


def test_the_chain_of_frames_ends_the_stack(tmp_path: Path) -> None:
    data = bytearray(0x100)
    struct.pack_into("<II", data, 0x10, 0x12FE50, 0x404200)
    struct.pack_into("<II", data, 0x50, 0, 0)  # a thread's first function has no caller
    struct.pack_into("<I", data, 0x80, 0x404200)  # what lies behind it is no frame
    dump = UserDump(
        arch="x86",
        address=0x40429E,
        modules=[("app.exe", 0x400000, 0x10000)],
        threads=[(77, context("x86", 0x40429E, 0x12FE04, 0x12FE10))],
        memory=[(0x12FE00, bytes(data)), (0x4041F0, bytes(11) + b"\xe8\1\2\3\4")],
    )
    summary = read(dump, tmp_path)
    assert [(frame.place.offset, frame.found) for frame in summary.stack] == [
        (0x429E, Found.REGISTERS), (0x4200, Found.FRAME_POINTER),
    ]  # fmt: skip
    text = click.unstyle("\n".join(page(summary)))
    assert "eip 0040429e" in text
    assert "  0012fe18   app.exe+0x4200" in text


def test_an_x86_thread_at_a_return_has_its_caller_on_top(tmp_path: Path) -> None:
    data = bytearray(0x100)
    struct.pack_into("<I", data, 0x04, 0x404200)
    dump = UserDump(
        arch="x86",
        address=0x40429E,
        modules=[("app.exe", 0x400000, 0x10000)],
        threads=[(77, context("x86", 0x40429E, 0x12FE04, 0))],
        memory=[(0x12FE00, bytes(data)), (0x4041F0, bytes(11) + b"\xe8\1\2\3\4"), (0x40429E, b"\xc3")],
    )
    summary = read(dump, tmp_path)
    assert (summary.stack[1].place.offset, summary.stack[1].found) == (0x4200, Found.LEAF)


def test_a_dump_of_another_system_says_so(tmp_path: Path) -> None:
    data = bytearray(UserDump(code=11, threads=[(77, context("x64", IMAGE + 0x1234, STACK))]).encode())
    at = data.index(struct.pack("<HHHBBIIII", 9, 6, 0, 1, 1, 10, 0, 19045, 2))
    struct.pack_into("<I", data, at + 20, 0x8201)
    (warning,) = summarise(writer.write(tmp_path, bytes(data))).warnings
    assert "on Linux, not on Windows" in warning


def test_memory_behind_the_end_of_the_file_is_missing(tmp_path: Path) -> None:
    registers = context("x64", IMAGE + 0x1234, STACK + 0xFF0)
    data = UserDump(threads=[(77, registers)], memory64=[(STACK, stack(*WORDS))]).encode()
    assert not summarise(writer.write(tmp_path, data)).truncated
    cut = summarise(writer.write(tmp_path, data[:-0x800]))
    assert cut.truncated
    assert "stream 0x9" in cut.warnings[0]


def test_a_breakpoint_is_followed_by_what_the_code_does_next(tmp_path: Path) -> None:
    dump = UserDump(
        code=0x80000003,
        threads=[(77, context("x64", IMAGE + 0x1234, STACK + 0xFF0))],
        memory=[
            (STACK, stack((0xFF0, IMAGE + 0x2222), (0xFF8, IMAGE + 0x3333))),
            (IMAGE + 0x1234, b"\xcc\xc3".ljust(16, b"\xcc")),
            (IMAGE + 0x2200, bytes(0x1D) + b"\xe8\1\2\3\4"),
        ],
    )
    summary = read(dump, tmp_path)
    assert (summary.stack[1].place.offset, summary.stack[1].found) == (0x2222, Found.CODE)
    assert "debugger" not in "\n".join(page(summary))


@pytest.mark.parametrize(
    ("following", "called"),
    [
        (0xD503237F, False), (0xA9BE7BFD, False), (0, False), (0x00000800, False), (0xD2800000, None),
        (0x97FE66ED, None),
    ],
)  # fmt: skip
def test_an_arm64_word_in_front_of_a_function_or_data_is_no_return_address(
    following: int, called: bool | None, tmp_path: Path
) -> None:
    dump = UserDump(
        arch="arm64",
        threads=[(77, context("arm64", IMAGE + 0x9000, 0x20000000))],
        memory=[
            (0x20000000, stack((0x20, IMAGE + 0x2000), size=0x100)),
            (IMAGE + 0x2000, struct.pack("<I", following)),
        ],
    )
    assert [one.called for one in read(dump, tmp_path).words] == [called]


@pytest.mark.parametrize(
    ("word", "called"),
    [(0x97FE66ED, True), (0xD63F0100, True), (0xD63F0B28, True), (0x17FE66ED, False), (0x020100E8, False)],
)
def test_an_arm64_return_address_follows_bl_or_blr(word: int, called: bool, tmp_path: Path) -> None:
    dump = UserDump(
        arch="arm64",
        address=0x7000,
        threads=[(77, context("arm64", IMAGE + 0x9000, 0x20000000))],
        memory=[
            (0x20000000, stack((0x20, IMAGE + 0x2000), (0x28, IMAGE + 0x3002), size=0x100)),
            (IMAGE + 0x1F80, bytes(0x7C) + struct.pack("<I", word) + bytes(16)),
            (IMAGE + 0x2FF0, struct.pack("<I", 0x97FE66ED) * 8),
        ],
    )
    summary = read(dump, tmp_path)
    assert [(one.place.offset, one.called) for one in summary.words] == [(0x2000, called), (0x3002, False)]
    assert offsets(summary) == [0x9000, 0x2000][: 1 + called]


def test_the_codeview_record_names_the_pdb(tmp_path: Path) -> None:
    record = b"RSDS" + bytes(range(16)) + struct.pack("<I", 3) + b"D:\\out\\app.pdb\0"
    dump = UserDump(threads=[(77, context("x64", IMAGE + 0x1234, STACK))], codeview=record)
    (module,) = read(dump, tmp_path).modules
    assert module.pdb == PdbIdentity("app.pdb", bytes(range(16)), 3)
    assert module.pdb.key == "0302010005040706" + "08090A0B0C0D0E0F" + "3"


@pytest.mark.parametrize("code", [b"", b"\xe8\0\0\0\0" * 13107 + b"\0", b"\x48\x83\xec\x08" * 0x4000])
@pytest.mark.parametrize("step", [0, 0x100])
def test_threads_whose_stacks_lead_everywhere_take_little_time(
    code: bytes, step: int, tmp_path: Path
) -> None:
    words = ((at * 8, IMAGE + (at * 0x1357 % 0xFFF0 // 5) * 5 + 5) for at in range(12000))
    threads = [(7 + at, context("x64", IMAGE + 0x1234, STACK + 0x10000 - at * step)) for at in range(256)]
    dump = UserDump(
        threads=threads,
        memory=[(IMAGE, code)] if code else [],
        memory64=[(STACK, stack(*words, size=12000 * 8))],
    )
    path = writer.write(tmp_path, dump.encode())
    assert path.stat().st_size < 1 << 19
    began = time.process_time()
    summary = summarise(path)
    # 1.3 s on a quiet machine; without a limit for the whole dump it was 22 s.
    assert time.process_time() - began < 6.0
    assert len(summary.threads) == 256
    assert all(thread.stack for thread in summary.threads[:100])
