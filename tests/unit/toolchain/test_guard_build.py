"""A driver that is built with the guard: its calls of watched routines reach the guard, not the kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pefile
import pytest

from harness.host.resources import instrument_folder
from harness.journal import Journal
from harness.project import config
from harness.toolchain.builds import build_drivers
from harness.toolchain.instrument import SOURCES, Instrument

SOURCE = """#include <ntddk.h>
static KSPIN_LOCK lock;
static VOID NTAPI Unload(PDRIVER_OBJECT d) { (void)d; }
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    KIRQL irql;
    PVOID block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 'tset');
    (void)p;
    KeAcquireSpinLock(&lock, &irql);
    KeReleaseSpinLock(&lock, irql);
    if (block) { ExFreePoolWithTag(block, 'tset'); }
    KeBugCheck(0xE2);
    d->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
"""
WATCHED = ("ExAllocatePoolWithTag", "ExFreePoolWithTag", "KeAcquireSpinLockRaiseToDpc", "KeReleaseSpinLock")


def imports(driver: Path) -> set[str]:
    with pefile.PE(str(driver)) as image:
        entries = image.DIRECTORY_ENTRY_IMPORT
        return {one.name.decode() for entry in entries for one in entry.imports if one.name}


def built(folder: Path, *, guard: bool) -> set[str]:
    (folder / "t.c").write_text(SOURCE)
    (folder / "winvm.toml").write_text(
        f'[driver]\nname = "t"\nsources = ["t.c"]\nguard = {str(guard).lower()}\n'
    )
    return imports(build_drivers(config.load(folder / "winvm.toml"), None, Journal())["release"])


def test_the_guard_stands_between_the_driver_and_the_kernel(tmp_path: Path) -> None:
    for name in ("plain", "guarded"):
        (tmp_path / name).mkdir()
    plain = built(tmp_path / "plain", guard=False)
    guarded = built(tmp_path / "guarded", guard=True)
    assert set(WATCHED) <= plain
    assert not guarded & set(WATCHED)
    assert "KeBugCheck" in guarded, "what it does not watch stays the kernel's"
    assert {"MmGetSystemRoutineAddress", "KeBugCheckEx"} <= guarded


@pytest.mark.parametrize("name", ["guard_irql"])
def test_a_table_of_highest_irqls_names_each_routine_once(name: str) -> None:
    text = (instrument_folder() / f"{name}.c").read_text(encoding="utf-8")
    rows = re.findall(r"\bX\((\w+), (\d), (\w+)\)", text)
    names = [row[0] for row in rows]
    assert len(names) > 50
    assert sorted(names) == sorted(set(names))
    assert {row[1] for row in rows} <= {"0", "1", "2"}


def test_every_file_of_the_guard_is_built() -> None:
    files = {path.stem for path in instrument_folder().glob("guard*.c")}
    assert files == set(SOURCES[Instrument.GUARD])
