"""The routine that took an IRP: its function and line, and what a hang's analysis says of it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from harness.crash.analysis import Circumstances, analyse
from harness.crash.held import Held, HeldIrps, named, names_operation
from harness.dumps.kernel.held_irps import HeldIrp
from harness.dumps.summary import Module
from harness.journal import Journal
from harness.outcome import KernelCrash
from harness.project import config
from harness.toolchain.builds import build_drivers

SOURCE = """#include <ntifs.h>
NTSTATUS NTAPI Control(PDEVICE_OBJECT d, PIRP i) {
    (void)d; IoMarkIrpPending(i);
    return STATUS_PENDING;
}
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)p; d->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    return STATUS_SUCCESS;
}
"""
BASE = 0x7FF000000
OPERATION = (
    "The guest did not run s within 3 s: DeviceIoControl Dev code=0x222004 in=0 out=0 has not returned."
)
HANG = KernelCrash("hang", 0, (), time=0.0, text=OPERATION)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    (folder / "t.c").write_text(SOURCE)
    (folder / "winvm.toml").write_text('[driver]\nname = "t"\nsources = ["t.c"]\n')
    return build_drivers(config.load(folder / "winvm.toml"), None, Journal())["release"]


def module_of(driver: Path) -> Module:
    """The driver as it is loaded at BASE."""
    head = driver.read_bytes()[:0x400]
    (at,) = struct.unpack_from("<I", head, 0x3C)
    (stamp,) = struct.unpack_from("<I", head, at + 8)
    (size,) = struct.unpack_from("<I", head, at + 24 + 56)
    return Module("t.sys", r"C:\t.sys", BASE, size, stamp)


def routine_of(driver: Path) -> int:
    """Where Control is: it begins with inlined code, which reads the IRP's stack location from [rdx+0xb8]."""
    image = driver.read_bytes()
    (at,) = struct.unpack_from("<I", image, 0x3C)
    (count, optional) = struct.unpack_from("<H12xH", image, at + 6)
    found = image.index(b"\x48\x8b\x82\xb8\x00\x00\x00")
    for number in range(count):
        address, size, offset = struct.unpack_from("<III", image, at + 24 + optional + 40 * number + 12)
        if offset <= found < offset + size:
            return BASE + int(address) + found - int(offset)
    raise AssertionError("Control is in no section")


def irp(major: int, routine: int, code: int | None = None, address: int = 0x9000) -> HeldIrp:
    function = {3: "IRP_MJ_READ", 14: "IRP_MJ_DEVICE_CONTROL"}[major]
    return HeldIrp(address, major, function, code, 0x8000, routine)


def held_by(driver: Path, *irps: HeldIrp, operation: str = OPERATION) -> HeldIrps:
    return named(Held(module_of(driver), irps, "a test's memory"), operation, driver.parent)


def test_the_operation_that_hangs_is_named_with_function_and_line(driver: Path, tmp_path: Path) -> None:
    routine = routine_of(driver)
    other = irp(3, routine, address=0x7000)
    held = held_by(driver, other, irp(14, routine, 0x222004))
    assert [one.hangs for one in held.irps] == [True, False]
    document = analyse(HANG, Circumstances("s", "t.sys", held=held), tmp_path, None)
    assert document["likely_cause"].startswith("t.sys, Control (")
    assert "t.c:" in document["likely_cause"]
    assert document["likely_cause"].endswith(
        "took IRP_MJ_DEVICE_CONTROL 0x222004 and has not completed it: it waits, loops, or keeps the IRP."
    )
    kept = json.loads((tmp_path / "analysis.json").read_text())["held"]
    assert kept["source"] == "a test's memory"
    assert [(one["function"], one["code"], one["hangs"]) for one in kept["irps"]] == [
        ("IRP_MJ_DEVICE_CONTROL", 0x222004, True),
        ("IRP_MJ_READ", None, False),
    ]
    assert kept["irps"][0]["routine"]["frames"][0]["function"] == "Control"
    assert "IRP_MJ_READ at 0x7000 is not completed; the driver's routine for it is Control (" in held.notes[1]


@pytest.mark.parametrize(
    "other", [irp(3, BASE + 0x1000), irp(14, BASE + 0x1000, 0x222008), irp(14, 0x6FFFF0001000, 0x222004)]
)
def test_an_irp_of_another_operation_or_without_a_routine_is_no_cause(
    driver: Path, tmp_path: Path, other: HeldIrp
) -> None:
    held = held_by(driver, other)
    assert held.cause == ""
    assert len(held.notes) == 1
    document = analyse(HANG, Circumstances("s", "t.sys", held=held), tmp_path, None)
    assert document["likely_cause"].startswith("The driver made no progress before the deadline")


def test_a_request_that_the_driver_no_longer_holds_was_answered(driver: Path, tmp_path: Path) -> None:
    held = held_by(driver)
    document = analyse(HANG, Circumstances("s", "t.sys", held=held), tmp_path, None)
    assert document["likely_cause"].startswith("The driver holds no request: it answered DeviceIoControl,")
    assert "completed twice" in document["likely_cause"]
    assert document["likely_cause"].endswith("That is a guess.")


@pytest.mark.parametrize("operation", ["DeviceIoControl Dev code=0x222004 in=0 out=0", "", "StartService t"])
def test_nothing_is_said_of_a_request_that_may_have_returned(driver: Path, operation: str) -> None:
    assert held_by(driver, operation=operation).cause == ""
    assert HeldIrps(operation="ReadFile").cause == "", "the guest's memory was not read"


def test_a_crash_is_not_explained_by_what_the_driver_held(driver: Path, tmp_path: Path) -> None:
    held = held_by(driver, irp(14, routine_of(driver), 0x222004))
    crash = KernelCrash("bugcheck", 0xE2, (0, 0, 0, 0), time=0.0)
    document = analyse(crash, Circumstances("s", "t.sys", held=held), tmp_path, None)
    assert "has not completed" not in document["likely_cause"]


def test_another_build_gives_no_names(driver: Path) -> None:
    module = module_of(driver)
    older = Module(module.name, module.path, BASE, module.size, module.timestamp ^ 1)
    held = named(Held(older, (irp(3, routine_of(driver)),), "memory"), "ReadFile Dev 4", driver.parent)
    assert held.cause.startswith("t.sys+0x")
    assert held.irps[0].routine.frames == ()


def test_operations_are_recognised() -> None:
    assert names_operation(OPERATION)
    assert names_operation("ReadFile Dev 77 has not returned")
    assert not names_operation("The guest did not run s within 3 s, and its agent does not answer.")
    assert not names_operation("StartService t")
