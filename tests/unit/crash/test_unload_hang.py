"""A DriverUnload that does not return: its function and line in a hang's analysis."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.crash.analysis import Circumstances, analyse
from harness.crash.dispatch import unload_routine
from harness.crash.held import NONE_HELD, HeldIrps
from harness.journal import Journal
from harness.outcome import KernelCrash
from harness.project import config
from harness.toolchain.builds import build_drivers

SOURCE = """#include <ntddk.h>
static void NTAPI Leave(PDRIVER_OBJECT d) {
    LARGE_INTEGER due = {.QuadPart = -(LONGLONG)d->Size};
    for (;;) KeDelayExecutionThread(KernelMode, FALSE, &due);
}
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)p; d->DriverUnload = Leave;
    return STATUS_SUCCESS;
}
"""
HANG = KernelCrash(
    "hang",
    0,
    (),
    time=0.0,
    text="The scenario ended, but the driver's service has not stopped 20 s after ControlService asked it.",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unload")
    (folder / "t.c").write_text(SOURCE)
    (folder / "winvm.toml").write_text('[driver]\nname = "t"\nsources = ["t.c"]\n')
    return build_drivers(config.load(folder / "winvm.toml"), None, Journal())["release"]


def cause(
    driver: Path | None,
    folder: Path,
    operation: str = "ControlService t stop",
    held: HeldIrps = NONE_HELD,
) -> str:
    found = Circumstances("s", "t.sys", operation, held=held, image=driver)
    return str(analyse(HANG, found, folder, None)["likely_cause"])


def test_the_routine_is_found_by_where_driver_entry_stores_it(driver: Path) -> None:
    place = unload_routine(driver)
    assert place is not None
    assert place.frames[0].function == "Leave"
    assert unload_routine(driver.parent / "missing.sys") is None


def test_it_is_named_with_function_and_line(driver: Path, tmp_path: Path) -> None:
    said = cause(driver, tmp_path, held=HeldIrps(source="a test's memory"))
    assert said.startswith("t.sys, Leave (")
    assert "t.c:2)" in said
    assert said.endswith("the driver's DriverUnload, has not returned: it waits or loops forever.")


def test_a_process_that_nothing_has_seen_may_have_ended(driver: Path, tmp_path: Path) -> None:
    assert cause(driver, tmp_path).endswith("a device of the driver, or its process has ended.")


def test_it_is_named_without_the_image_too(tmp_path: Path) -> None:
    assert cause(None, tmp_path).startswith("DriverUnload has not returned:")


@pytest.mark.parametrize("operation", ["ControlService other stop", "ReadFile Dev 4", ""])
def test_another_operation_is_no_stop_of_the_driver(driver: Path, tmp_path: Path, operation: str) -> None:
    assert "DriverUnload" not in cause(driver, tmp_path, operation)
