"""Coverage of a C++ driver in the Wine guest: its sources unchanged, lines compared with what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import CommandLine

DRIVER = r"""#include <ntddk.h>

template <typename Number> static Number Larger(Number a, Number b) {
    if (a > b) {
        DbgPrint("covered: first\n");
        return a;
    }
    DbgPrint("covered: second\n");
    return b;
}

class Device {
  public:
    NTSTATUS Answer(ULONG code) {
        switch (code & 0xFF) {
            case 4:
                Larger(2, 1);
                return STATUS_SUCCESS;
            case 8:
                Larger(1, 2);
                return STATUS_SUCCESS;
            case 12:
                DbgPrint("covered: falls\n");
                return Fall(nullptr);
        }
        return STATUS_INVALID_DEVICE_REQUEST;
    }

  private:
    NTSTATUS Fall(volatile LONG *nowhere) {
        *nowhere = 1;
        return STATUS_SUCCESS;
    }
};

static Device device;
static UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Covered");
static UNICODE_STRING alias = RTL_CONSTANT_STRING(L"\\DosDevices\\Covered");

extern "C" {

static NTSTATUS NTAPI Dispatch(PDEVICE_OBJECT, PIRP irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    NTSTATUS status = STATUS_SUCCESS;
    if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL) {
        status = device.Answer(stack->Parameters.DeviceIoControl.IoControlCode);
    }
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver) {
    IoDeleteSymbolicLink(&alias);
    IoDeleteDevice(driver->DeviceObject);
    DbgPrint("covered: unloaded\n");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING) {
    PDEVICE_OBJECT made;
    NTSTATUS status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &made);
    if (!NT_SUCCESS(status)) {
        DbgPrint("covered: no device\n");
        return status;
    }
    for (int major = 0; major <= IRP_MJ_MAXIMUM_FUNCTION; major++) {
        driver->MajorFunction[major] = Dispatch;
    }
    driver->DriverUnload = Unload;
    return IoCreateSymbolicLink(&alias, &name);
}

}
"""
SCENARIOS = r'''
"""Each takes another way through the driver."""
from agent import Context, Crash, scenario


@scenario()
def larger_first(t: Context) -> None:
    """The first branch."""
    with t.open(r"\\.\Covered") as device:
        device.ioctl(0x222004)


@scenario()
def larger_second(t: Context) -> None:
    """The second branch, twice."""
    with t.open(r"\\.\Covered") as device:
        device.ioctl(0x222008)
        device.ioctl(0x222008)


@scenario(expect_crash=Crash(exception=0xC0000005))
def falls(t: Context) -> None:
    """A write through a null pointer."""
    with t.open(r"\\.\Covered") as device:
        device.ioctl(0x22200C)
'''


@pytest.fixture(scope="module")
def project(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("covered")
    (folder / "covered.cpp").write_text(DRIVER)
    init = [sys.executable, "-m", "harness", "init", "--name", "covered"]
    subprocess.run(init, cwd=folder, check=True, capture_output=True)
    (folder / "scenarios" / "ways.py").write_text(SCENARIOS)
    return folder


@pytest.fixture(scope="module")
def covered(winvm: CommandLine, project: Path) -> dict[str, dict[int, list[str]]]:
    """Line -> scenarios, of a run of all scenarios."""
    winvm.ok("--config", str(project / "winvm.toml"), "run", "--coverage", timeout=900)
    found: dict[str, Any] = json.loads((coverage_of(project) / "scenarios.json").read_text())
    return {name: {int(line): by for line, by in lines.items()} for name, lines in found.items()}


def coverage_of(project: Path) -> Path:
    return project / "artifacts" / "latest" / "coverage"


def line_of(text: str) -> int:
    (found,) = [number for number, line in enumerate(DRIVER.splitlines(), 1) if text in line]
    return found


@pytest.mark.parametrize(
    ("text", "scenarios"),
    [
        ("covered: first", {"ways.larger_first"}),
        ("return a;", {"ways.larger_first"}),
        ("covered: second", {"ways.larger_second"}),
        ("if (a > b)", {"ways.larger_first", "ways.larger_second"}),
        ("covered: falls", {"ways.falls"}),
        ("*nowhere = 1;", {"ways.falls"}),
        ("covered: unloaded", set()),  # the crash came before
        ("driver->DriverUnload = Unload;", {"driver.load"}),
        ("covered: no device", set()),
        ("return STATUS_INVALID_DEVICE_REQUEST;", set()),
    ],
)
def test_lines_have_the_scenarios_that_ran_them(
    covered: dict[str, dict[int, list[str]]], text: str, scenarios: set[str]
) -> None:
    assert set(covered["covered.cpp"].get(line_of(text), [])) == scenarios


def test_counts_are_those_of_the_debug_output(
    covered: dict[str, dict[int, list[str]]], project: Path
) -> None:
    printed = (project / "artifacts" / "latest" / "dbgprint.log").read_text(errors="replace")
    lcov = (coverage_of(project) / "lcov.info").read_text()
    for text in (
        "covered: first",
        "covered: second",
        "covered: falls",
        "covered: unloaded",
        "covered: no device",
    ):
        assert f"DA:{line_of(text)},{printed.count(text)}\n" in lcov, text
    assert covered


def test_no_count_is_missing(covered: dict[str, dict[int, list[str]]], project: Path) -> None:
    assert json.loads((coverage_of(project) / "summary.json").read_text())["troubles"] == []
    assert "coverage/scenarios.html" in (project / "artifacts" / "latest" / "report.html").read_text()


def test_too_little_coverage_fails_the_run(winvm: CommandLine, project: Path) -> None:
    words = ("--config", str(project / "winvm.toml"), "run", "ways.larger_first", "--coverage-fail-under")
    done = winvm.run(*words, "99", timeout=900)
    assert done.returncode == 1
    assert b"is below the 99 % asked for" in done.stdout
    assert winvm.run(*words, "10", timeout=900).returncode == 0
    found = json.loads((coverage_of(project) / "scenarios.json").read_text())["covered.cpp"]
    assert found[str(line_of("covered: unloaded"))] == ["driver.unload"]
    assert str(line_of("covered: second")) not in found
