"""Driver objects and uncompleted IRPs in a process's memory."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest

from harness.dumps.kernel.held_irps import MAX_IRPS, ProcessMemory, driver_object, held_irps
from tests.fakes.winedevice import BASE, CONTROL, DEVICE, DRIVER, HEAP, OTHER_DEVICE, READ, Winedevice

GOLDEN = Path(__file__).parents[3] / "golden"


@pytest.fixture
def process() -> Winedevice:
    return Winedevice()


def memory_of(process: Winedevice) -> ProcessMemory:
    return ProcessMemory([(BASE, process.headers), (HEAP, bytes(process.heap))])


def test_the_driver_object_is_found_by_its_start(process: Winedevice) -> None:
    process.put(HEAP + 0x20, struct.pack("<Q", BASE))  # a pointer that lies in no driver object
    memory = memory_of(process)
    assert driver_object(memory, BASE) == DRIVER
    assert driver_object(memory, BASE + 0x1000) is None


def test_what_is_not_completed_is_held_with_its_routine_and_code(process: Winedevice) -> None:
    process.irp(CONTROL, code=0x222000, completed=True)
    control = process.irp(CONTROL, code=0x222004)
    read = process.irp(READ, OTHER_DEVICE, code=0x10)
    first, second = held_irps(memory_of(process), DRIVER)
    assert (first.address, first.function, first.code) == (control, "IRP_MJ_DEVICE_CONTROL", 0x222004)
    assert (first.device, first.routine) == (DEVICE, BASE + 0x1230)
    assert (second.address, second.function, second.code) == (read, "IRP_MJ_READ", None)
    assert (second.device, second.routine) == (OTHER_DEVICE, BASE + 0x1340)


def test_an_irp_whose_fields_contradict_each_other_is_none(process: Winedevice) -> None:
    for offset, value in ((0, 5), (2, 1), (0x42, 0), (0x43, 2), (0xB8, 1), (0xD0, 0x40)):
        at = process.irp(CONTROL)
        process.put(at + offset, bytes((value,)))
    assert held_irps(memory_of(process), DRIVER) == ()


def test_devices_in_a_circle_and_floods_of_irps_are_bounded(process: Winedevice) -> None:
    process.put(OTHER_DEVICE + 0x10, struct.pack("<Q", DEVICE))
    for _ in range(MAX_IRPS + 4):
        process.irp(READ)
    assert len(held_irps(memory_of(process), DRIVER)) == MAX_IRPS


def test_devices_of_another_driver_end_the_list(process: Winedevice) -> None:
    process.put(OTHER_DEVICE + 8, struct.pack("<Q", DRIVER + 8))
    process.irp(READ, OTHER_DEVICE)
    assert held_irps(memory_of(process), DRIVER) == ()


def test_memory_with_holes_reads_as_far_as_it_goes(process: Winedevice) -> None:
    memory = ProcessMemory([(0x1000, b"abcd"), (0x3000, b"efgh")])
    assert memory.read(0x1002, 8) == b"cd"
    assert memory.read(0x2000, 8) == memory.read(0x10, 4) == memory.read(0x4000, 1) == b""


def test_a_real_winedevice_holds_a_pended_read_and_a_control_that_nobody_completes() -> None:
    recorded = json.loads((GOLDEN / "irps" / "winedevice.json").read_text())
    base = int(recorded["base"], 16)
    memory = ProcessMemory((int(part["at"], 16), bytes.fromhex(part["hex"])) for part in recorded["parts"])
    driver = driver_object(memory, base)
    assert driver == int(recorded["driver"], 16)
    read, control = held_irps(memory, driver)
    assert {read.device, control.device} == {int(recorded["device"], 16)}
    assert (read.function, read.code, read.routine - base) == ("IRP_MJ_READ", None, 0x6060)
    assert (control.function, control.code) == ("IRP_MJ_DEVICE_CONTROL", 0x2220AC)
    assert control.routine - base == 0x6060


def test_mutated_memory_never_raises(process: Winedevice) -> None:
    for code in range(8):
        process.irp(CONTROL, code=code)
    chance = random.Random(9)
    for _ in range(300):
        heap = bytearray(process.heap)
        for _ in range(40):
            heap[chance.randrange(0x2200)] = chance.randrange(256)
        memory = ProcessMemory([(HEAP, bytes(heap))])
        found = driver_object(memory, BASE)
        assert found in (None, DRIVER)
        assert len(held_irps(memory, DRIVER)) <= MAX_IRPS
