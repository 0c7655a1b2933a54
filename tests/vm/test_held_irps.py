"""A hang names the driver's routine that took the request: a control that loops, and a read that is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import CommandLine

DRIVER = r"""
#include <ntddk.h>
DRIVER_INITIALIZE DriverEntry;
static UNICODE_STRING device = RTL_CONSTANT_STRING(L"\\Device\\Keeper");
static UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\DosDevices\\Keeper");

static NTSTATUS NTAPI OpenClose(PDEVICE_OBJECT Device, PIRP Irp) {
    UNREFERENCED_PARAMETER(Device);
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI KeepRead(PDEVICE_OBJECT Device, PIRP Irp) {
    UNREFERENCED_PARAMETER(Device);
    IoMarkIrpPending(Irp);
    return STATUS_PENDING;
}

static NTSTATUS NTAPI LoopInControl(PDEVICE_OBJECT Device, PIRP Irp) {
    static volatile LONG go = 1;
    while (go) {
        YieldProcessor();
    }
    return OpenClose(Device, Irp);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    PDEVICE_OBJECT made;
    UNREFERENCED_PARAMETER(Path);
    NTSTATUS status = IoCreateDevice(Driver, 0, &device, FILE_DEVICE_UNKNOWN, 0, FALSE, &made);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    made->Flags |= DO_BUFFERED_IO;
    Driver->MajorFunction[IRP_MJ_CREATE] = Driver->MajorFunction[IRP_MJ_CLOSE] = OpenClose;
    Driver->MajorFunction[IRP_MJ_READ] = KeepRead;
    Driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = LoopInControl;
    return IoCreateSymbolicLink(&link, &device);
}
"""

SCENARIOS = '''
"""Requests that the driver never completes, and a name below its device."""

from agent import Context, scenario


@scenario(deadline_s=4)
def control(t: Context) -> None:
    """Loops."""
    with t.open("Keeper") as device:
        device.ioctl(0x222004, b"1234", 8)


@scenario(deadline_s=4)
def read(t: Context) -> None:
    """Is kept, beside another read that is kept as asked."""
    with t.open("Keeper", overlapped=True) as waiting, t.open("Keeper") as device:
        waiting.read_async(5)
        device.read(77)


@scenario
def name_below(t: Context) -> None:
    """Would reach the driver on Windows."""
    t.open(r"\\\\.\\Keeper\\sub").close()


@scenario
def name_below_nothing(t: Context) -> None:
    """Fails on Windows, too."""
    t.open(r"\\\\.\\Nobody\\sub").close()
'''


@pytest.fixture(scope="module")
def results(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of one run by name, each with the folder of its evidence."""
    folder = tmp_path_factory.mktemp("keeper", numbered=False)
    return winvm.outcomes(folder, DRIVER, SCENARIOS)


@pytest.mark.parametrize(
    ("scenario", "routine", "request_"),
    [
        ("keeper.control", "LoopInControl", "IRP_MJ_DEVICE_CONTROL 0x222004"),
        ("keeper.read", "KeepRead", "IRP_MJ_READ"),
    ],
)
def test_the_routine_that_took_the_request_is_named(
    results: dict[str, Any], scenario: str, routine: str, request_: str
) -> None:
    result = results[scenario]
    assert result["outcome"] == "hung"
    assert result["detail"].startswith(f"keeper.sys, {routine} (")
    start = (
        DRIVER.splitlines().index(f"static NTSTATUS NTAPI {routine}(PDEVICE_OBJECT Device, PIRP Irp) {{") + 1
    )
    named = re.search(r"keeper\.c:(\d+)\)", result["detail"])
    assert named
    assert int(named[1]) in range(start, start + 4), "its first lines, some of which are inlined code"
    assert f"took {request_} and has not completed it" in result["detail"]
    held = json.loads((Path(result["crash"]["folder"]) / "analysis.json").read_text())["held"]
    assert held["irps"][0]["hangs"]
    assert "memory of winedevice.exe" in held["source"]
    assert any(f"{request_} at 0x" in note and routine in note for note in result["notes"])


def test_every_request_that_is_kept_is_listed(results: dict[str, Any]) -> None:
    held = json.loads((Path(results["keeper.read"]["crash"]["folder"]) / "analysis.json").read_text())["held"]
    assert [irp["function"] for irp in held["irps"]] == ["IRP_MJ_READ", "IRP_MJ_READ"]


def test_a_name_below_a_device_is_not_the_driver_s_fault(results: dict[str, Any]) -> None:
    below, nothing = results["keeper.name_below"], results["keeper.name_below_nothing"]
    assert below["outcome"] == "skipped"
    assert below["message"].startswith("Not shown on this guest: Wine opens no name below a device")
    assert nothing["outcome"] == "error"
