"""Frames of a dump that keeps code but no function table: followed to the return, or scanned for it."""

from __future__ import annotations

from harness.dumps import cpu
from harness.dumps.attribution import AddressMap
from harness.dumps.summary import Found, Module, StackFrame
from harness.dumps.unwind.walk import StackWalk

BASE, STACK = 0xFFFFF80070000000, 0xFFFFF90000000000
CALLER, STALE, DATA, START = BASE + 0x2000, BASE + 0x3000, BASE + 0x4000, BASE + 0x5000
NOP_PADDED = bytes.fromhex("90488b5c24304883c4205fc3")


class Minidump:
    """256 bytes of code from each address on, and a stack."""

    def __init__(self, code: str) -> None:
        self.pieces = {
            BASE + 0x1000: bytes.fromhex(code).ljust(0x100, b"\xcc"),
            CALLER: NOP_PADDED.ljust(0x100, b"\xcc"),
            STALE: NOP_PADDED.ljust(0x100, b"\xcc"),
            DATA: (BASE + 0x800).to_bytes(8, "little").ljust(0x100, b"\1"),
            START: bytes.fromhex("489c5356").ljust(0x100, b"\x90"),
        }
        self.words: dict[int, int] = {}

    def read(self, address: int, size: int) -> bytes:
        for start, data in self.pieces.items():
            if start <= address < start + len(data):
                return data[address - start :][:size]
        if STACK <= address < STACK + 0x200:
            words = [self.words.get(at, 0) for at in range(0, 0x200, 8)]
            return b"".join(word.to_bytes(8, "little") for word in words)[address - STACK :][:size]
        return b""

    def walk(self) -> list[StackFrame]:
        addresses = AddressMap([Module("a.sys", "a.sys", BASE, 0x10000)], [], self)
        return StackWalk(addresses, self, cpu.X64).walk({"rip": BASE + 0x1000, "rsp": STACK})

    def frames(self) -> list[tuple[int, Found]]:
        return [(one.place.address, one.found) for one in self.walk()][:2]


FAULT = (BASE + 0x1000, Found.REGISTERS)


def test_a_word_that_the_code_reads_or_writes_is_no_return_address() -> None:
    """The dump does not hold the way to the return; the code stores at 0x28, where a stale word lies."""
    dump = Minidump("4889442428" + "e800000000" + "e900100000")
    dump.words = {0x28: STALE, 0x48: CALLER}
    assert dump.frames() == [FAULT, (CALLER, Found.SCAN)]


def test_code_behind_a_jump_is_looked_at_too() -> None:
    dump = Minidump("e900100000" + "488b4c2428" + "0f114c2430" + "cc")
    dump.words = {0x28: STALE, 0x30: STALE, 0x48: CALLER}
    assert dump.frames() == [FAULT, (CALLER, Found.SCAN)]


def test_code_of_another_function_says_nothing() -> None:
    dump = Minidump("e900100000" + "4883ec20" + "488b4c2428" + "cc")
    dump.words = {0x28: STALE, 0x48: CALLER}
    assert dump.frames() == [FAULT, (STALE, Found.SCAN)]


def test_words_that_lead_to_data_or_to_a_function_s_start_are_no_return_addresses() -> None:
    dump = Minidump("e900100000")
    dump.words = {0x10: DATA, 0x18: START, 0x48: CALLER}
    assert dump.frames() == [FAULT, (CALLER, Found.SCAN)]


def test_a_return_that_the_code_reaches_is_taken() -> None:
    dump = Minidump("4889442408" + "4883c428" + "c3")
    dump.words = {0x8: STALE, 0x28: CALLER}
    assert dump.frames() == [FAULT, (CALLER, Found.CODE)]
