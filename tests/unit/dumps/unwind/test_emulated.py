"""Stacks of real code, unwound at every instruction: prologues, epilogues, alloca, tail calls, recursion."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.dumps.attribution import AddressMap
from harness.dumps.summary import Found, Module, NoMemory, VirtualMemory
from harness.dumps.unwind.walk import StackWalk
from tests.fakes import emulated
from tests.fakes.emulated import ARM64, BASE, X64, Emulated, Stop

pytest.importorskip("unicorn", reason="unicorn, which runs the code, is not installed")

INSTRUCTIONS = 2500
OPTIONS = [("-O2", False), ("-O1", True), ("-O0", False), ("-Os", False)]


def walk_of(machine: Emulated, kind: int, memory: VirtualMemory | None = None) -> StackWalk:
    module = Module("code.sys", "code.sys", BASE, len(machine.image))
    memory = memory or machine
    return StackWalk(AddressMap([module], [], memory, kind), memory, kind)


@pytest.mark.parametrize(("optimise", "frame_pointer"), OPTIONS)
@pytest.mark.parametrize("kind", [X64, ARM64], ids=["x64", "arm64"])
def test_the_chain_is_true_at_every_instruction(
    kind: int, optimise: str, frame_pointer: bool, tmp_path: Path
) -> None:
    image = emulated.build(tmp_path, kind, optimise=optimise, frame_pointer=frame_pointer)
    machine = Emulated(image, kind)
    walk = walk_of(machine, kind)
    stops = 0

    def check(stop: Stop) -> None:
        nonlocal stops
        frames = walk.walk(stop.registers)
        assert tuple(frame.place.address for frame in frames[1:]) == stop.chain, hex(frames[0].place.address)
        assert {frame.found for frame in frames[1:]} <= {Found.UNWOUND, Found.LEAF}
        stops += 1

    machine.run(emulated.address_of(image, "Start"), 2, check, most=INSTRUCTIONS)
    assert stops > 300


def deepest(machine: Emulated, image: Path, depth: int) -> tuple[dict[str, int], tuple[int, ...]]:
    """Runs to the innermost leaf function and stays there."""
    leaf = emulated.address_of(image, "Leaf")
    found: list[Stop] = []

    def stop_there(stop: Stop) -> None:
        if stop.registers.get("rip", stop.registers.get("pc")) == leaf:
            found.append(stop)
            machine.halt()

    machine.run(emulated.address_of(image, "Deep"), depth, stop_there, most=100 * depth)
    return found[0].registers, found[0].chain


def test_a_thousand_frames_are_unwound_in_fifty_milliseconds(tmp_path: Path) -> None:
    image = emulated.build(tmp_path, X64, optimise="-O1")
    machine = Emulated(image, X64)
    registers, chain = deepest(machine, image, 1000)
    memory = Frozen(machine)
    seconds = []
    for _ in range(5):
        walk = walk_of(machine, X64, memory)
        started = time.perf_counter()
        frames = walk.walk(registers)
        seconds.append(time.perf_counter() - started)
        assert tuple(frame.place.address for frame in frames[1:]) == chain
    assert len(chain) >= 1000
    assert min(seconds) < 0.05


class Frozen:
    """The emulator's memory as it is now, without the emulator in the way."""

    def __init__(self, machine: Emulated) -> None:
        self._pieces = [
            (BASE, machine.image),
            (emulated.STACK, machine.read(emulated.STACK, emulated.STACK_SIZE)),
        ]

    def read(self, address: int, size: int) -> bytes:
        for start, data in self._pieces:
            if start <= address < start + len(data):
                return data[address - start :][:size]
        return b""


class Windows:
    """What a kernel minidump keeps: the stack, and 256 bytes of code from each return address on."""

    def __init__(self, machine: Emulated, addresses: tuple[int, ...]) -> None:
        self._whole = Frozen(machine)
        self._kept = addresses

    def read(self, address: int, size: int) -> bytes:
        if address >= emulated.STACK:
            return self._whole.read(address, size)
        for kept in self._kept:
            if kept - 16 <= address < kept + 256:
                return self._whole.read(address, min(size, kept + 256 - address))
        return b""


@pytest.mark.parametrize("optimise", ["-O2", "-O1", "-Os"])
def test_code_alone_gives_the_chain_where_there_is_no_function_table(optimise: str, tmp_path: Path) -> None:
    image = emulated.build(tmp_path, X64, optimise=optimise)
    machine = Emulated(image, X64)
    right = wrong = guessed = 0

    def check(stop: Stop) -> None:
        nonlocal right, wrong, guessed
        memory = Windows(machine, (stop.registers["rip"], *stop.chain))
        frames = walk_of(machine, X64, memory).walk(stop.registers)[1:]
        for frame, true in zip(frames, stop.chain, strict=False):
            if frame.place.address != true:
                wrong += 1
                break
            right += frame.found is Found.CODE
            guessed += frame.found is Found.SCAN

    machine.run(emulated.address_of(image, "Start"), 2, check, most=600)
    assert right > 50
    assert wrong <= right // 20


def test_arm64_frame_records_serve_where_there_is_no_unwind_data(tmp_path: Path) -> None:
    image = emulated.build(tmp_path, ARM64, optimise="-O1", frame_pointer=True)
    machine = Emulated(image, ARM64)
    registers, chain = deepest(machine, image, 20)
    text = emulated.loaded(image)[0x1000:0x2000]

    class CodeOnly:
        def read(self, address: int, size: int) -> bytes:
            if address >= emulated.STACK:
                return machine.read(address, size)
            return text[address - BASE - 0x1000 :][:size] if address >= BASE + 0x1000 else b""

    frames = walk_of(machine, ARM64, CodeOnly()).walk(registers)
    found = [frame.place.address for frame in frames if frame.found is Found.FRAME_POINTER]
    assert found
    assert tuple(found) == chain[-len(found) :]
    assert len(found) >= len(chain) - 1


def test_nothing_but_registers_gives_one_frame() -> None:
    module = Module("code.sys", "code.sys", BASE, 0x5000)
    walk = StackWalk(AddressMap([module], [], NoMemory()), NoMemory(), X64)
    frames = walk.walk({"rip": BASE + 0x1000, "rsp": emulated.STACK})
    assert [(frame.place.offset, frame.found) for frame in frames] == [(0x1000, Found.REGISTERS)]
    assert walk.walk({}) == []
