"""Crashes outside every request: in DriverUnload at a scenario's stop, and in an earlier scenario's DPC."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vm.conftest import CommandLine

DRIVER = r"""
#include <ntddk.h>
DRIVER_INITIALIZE DriverEntry;
static UNICODE_STRING device = RTL_CONSTANT_STRING(L"\\Device\\Late");
static UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\DosDevices\\Late");
static KTIMER timer;
static KDPC dpc;
static volatile LONG fails;

static VOID NTAPI Rings(PKDPC Dpc, PVOID Context, PVOID First, PVOID Second) {
    *(volatile LONG *)0x10 = 1;
}

static VOID NTAPI Leaves(PDRIVER_OBJECT Driver) {
    if (fails) {
        *(volatile LONG *)0x20 = 1;
    }
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(Driver->DeviceObject);
}

static NTSTATUS NTAPI Answers(PDEVICE_OBJECT Device, PIRP Irp) {
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(Irp);
    LARGE_INTEGER due = {.QuadPart = -15000000};
    if (stack->MajorFunction == IRP_MJ_WRITE) {
        fails = 1;
    } else if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL) {
        KeInitializeTimer(&timer);
        KeInitializeDpc(&dpc, Rings, NULL);
        KeSetTimer(&timer, due, &dpc);
    }
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    PDEVICE_OBJECT made;
    NTSTATUS status = IoCreateDevice(Driver, 0, &device, FILE_DEVICE_UNKNOWN, 0, FALSE, &made);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    made->Flags |= DO_BUFFERED_IO;
    Driver->MajorFunction[IRP_MJ_CREATE] = Driver->MajorFunction[IRP_MJ_CLOSE] = Answers;
    Driver->MajorFunction[IRP_MJ_WRITE] = Driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Answers;
    Driver->DriverUnload = Leaves;
    return IoCreateSymbolicLink(&link, &device);
}
"""

SCENARIOS = '''
"""They run in this order."""

import time
from contextlib import suppress

from agent import Context, Crash, Win32Error, scenario


@scenario
def a_stops(t: Context) -> None:
    """Hides the error of a stop that crashes."""
    with t.open("Late") as device:
        device.write(b"1234")
    with t.services() as manager, manager.open(t.service) as service, suppress(Win32Error):
        service.stop()


@scenario
def b_opens(t: Context) -> None:
    """Has done nothing."""
    t.open("Late").close()


@scenario
def c_arms(t: Context) -> None:
    """Its timer rings later."""
    with t.open("Late") as device:
        device.ioctl(0x222004)


@scenario
def d_sleeps(t: Context) -> None:
    """All its requests have returned when the timer rings."""
    t.open("Late").close()
    time.sleep(5)


@scenario
def e_arms(t: Context) -> None:
    """As c_arms."""
    c_arms(t)


@scenario(expect_crash=Crash(exception=0xC0000005))
def f_expects(t: Context) -> None:
    """Asks nothing of the driver."""
    time.sleep(5)
'''


@pytest.fixture(scope="module")
def results(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of one run by name."""
    folder = tmp_path_factory.mktemp("late", numbered=False)
    return winvm.outcomes(folder, DRIVER, SCENARIOS)


def test_a_crash_in_the_unload_routine_that_a_scenario_reached_is_its_own(results: dict[str, Any]) -> None:
    stops = results["late.a_stops"]
    assert stops["outcome"] == "crashed"
    assert stops["crash"]["scenario"] == "late.a_stops"
    assert stops["detail"].startswith("late.sys, Leaves (")
    assert stops["seconds"] < 45
    assert results["late.b_opens"]["outcome"] == "passed", "its guest was restored"


def test_a_crash_while_no_operation_was_under_way_is_presumed_to_be_an_earlier_one_s(
    results: dict[str, Any],
) -> None:
    sleeps = results["late.d_sleeps"]
    assert sleeps["outcome"] == "crashed"
    assert "late.sys, Rings (" in sleeps["detail"]
    assert sleeps["message"].startswith("No operation of late.d_sleeps was under way: presumably an earlier")
    assert "(late.c_arms" in sleeps["crash"]["cause"]


def test_a_crash_before_the_first_operation_is_not_the_one_expected(results: dict[str, Any]) -> None:
    expects = results["late.f_expects"]
    assert expects["outcome"] == "crashed"
    assert expects["crash"]["scenario"] == "late.e_arms"
