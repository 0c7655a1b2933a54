"""What goes into the guest besides the driver: programs, data, a second driver, registry values."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import CommandLine

CONFIG = r"""
[driver]
name = "lamp"
sources = ["lamp.c"]

[service]
start = "system"
parameters = { Limit = 42, "Instances\\DefaultInstance" = "lamp" }

[deploy]
files = ["x64/*.exe", "x64/data.txt"]

[[deploy.drivers]]
name = "socket"
sources = ["socket.c"]

[[deploy.drivers]]
name = "switch"
sources = ["socket.c"]
load = "after"
defines = ["NAME=\"switch\""]

[scenarios]
folders = ["scenarios"]
"""
LAMP = r"""
#include <ntddk.h>

static ULONG Read(PUNICODE_STRING Path, PCWSTR Key, PCWSTR Name) {
    UCHAR buffer[256];
    KEY_VALUE_PARTIAL_INFORMATION *value = (void *)buffer;
    WCHAR text[256];
    UNICODE_STRING full = {0, sizeof(text), text}, name;
    OBJECT_ATTRIBUTES attributes;
    HANDLE key;
    ULONG size, found = 0;

    RtlCopyUnicodeString(&full, Path);
    RtlAppendUnicodeToString(&full, Key);
    InitializeObjectAttributes(&attributes, &full, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
        return 0;
    }
    RtlInitUnicodeString(&name, Name);
    if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, value, sizeof(buffer), &size))) {
        found = *(ULONG *)value->Data;
    }
    ZwClose(key);
    return found;
}

static VOID Unload(PDRIVER_OBJECT Driver) {
    UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\??\\LampLink");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(Driver->DeviceObject);
}

static NTSTATUS Done(PDEVICE_OBJECT Device, PIRP Irp) {
    (void)Device;
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Lamp");
    UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\??\\LampLink");
    PDEVICE_OBJECT device;

    Driver->DriverUnload = Unload;
    Driver->MajorFunction[IRP_MJ_CREATE] = Driver->MajorFunction[IRP_MJ_CLOSE] = Done;
    Driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Done;
    if (IoCreateDevice(Driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device) ||
        IoCreateSymbolicLink(&link, &name)) {
        return STATUS_UNSUCCESSFUL;
    }
    DbgPrint("lamp: start %u, limit %u, instance %x\n", Read(Path, L"", L"Start"),
             Read(Path, L"\\Parameters", L"Limit"), Read(Path, L"\\Instances", L"DefaultInstance"));
    return STATUS_SUCCESS;
}
"""
SOCKET = r"""
#include <ntddk.h>
#ifndef NAME
#define NAME "socket"
#endif

static VOID Unload(PDRIVER_OBJECT Driver) {
    (void)Driver;
    DbgPrint(NAME ": unloaded\n");
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    (void)Path;
    Driver->DriverUnload = Unload;
    DbgPrint(NAME ": loaded\n");
    return STATUS_SUCCESS;
}
"""
TAP = r"""
#include <stdio.h>
int main(int count, char **words) {
    FILE *data = fopen("x64/data.txt", "r");
    puts("1..2");
    puts(data ? "ok 1 - data" : "not ok 1 - data");
    printf("%s 2 - arguments\n", count == 3 && words[2][0] == 'b' ? "ok" : "not ok");
    return 0;
}
"""
GTEST = r"""
#include <stdio.h>
#include <string.h>
int main(int count, char **words) {
    FILE *file = fopen(strchr(words[count - 1], ':') + 1, "w");
    fputs("{\"testsuites\": [{\"name\": \"Lamp\", \"testsuite\": ["
          "{\"name\": \"On\", \"status\": \"RUN\"},"
          "{\"name\": \"Off\", \"status\": \"RUN\", \"failures\": [{\"failure\": \"still on\"}]}]}]}", file);
    fclose(file);
    return 1;
}
"""
CRASHES = "int main(void) { *(volatile int *)0 = 1; return 0; }\n"
HANGS = "#include <windows.h>\nint main(void) { Sleep(INFINITE); return 0; }\n"
SCENARIOS = r'''
import enum

from agent import Context, State, ctl_code, equal, program, scenario

tap = program("x64/tap.exe", "a", "b c", report="tap")
gtest = program("x64/gtest.exe", report="gtest")
fails = program("x64/tap.exe", name="fails")
crashes = program("x64/crashes.exe")
hangs = program("x64/hangs.exe", deadline_s=15)
missing = program("x64/nothing.exe", name="missing")


class Ioctl(enum.IntEnum):
    SHINE = ctl_code(0x22, 0x800)


NAMES = [r"LampLink", r"\\.\LampLink", r"\DosDevices\LampLink", r"\Device\Lamp"]
NAMES += [r"\\?\GLOBALROOT\Device\Lamp"]


@scenario(cases={f"name{number}": name for number, name in enumerate(NAMES)})
def opens_by(t: Context, name: str) -> None:
    """A device opens by any of its names."""
    with t.open(name) as device:
        equal(device.ioctl(Ioctl.SHINE), b"")


@scenario
def both_run(t: Context) -> None:
    """The other drivers run, too; a program is run by hand."""
    for name in ("socket", "lamp", "switch"):
        with t.services() as services, services.open(name) as service:
            equal(service.status().state, State.RUNNING, name)
    ended = t.run_program("x64/tap.exe", "only one")
    equal(ended.exit_code, 0)
    assert "not ok 2 - arguments" in ended.output


@scenario(expect_dbgprint=[r"^lamp: start 1, limit 42, instance [1-9a-f]"])
def finds_its_parameters(t: Context) -> None:
    """Registry values are there again when the driver is loaded again."""
    with t.services() as services, services.open(t.service) as service:
        service.stop()
        service.wait_for(State.STOPPED)
        service.start()
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lamp")
    (folder / "x64").mkdir()
    (folder / "scenarios").mkdir()
    (folder / "winvm.toml").write_text(CONFIG)
    (folder / "lamp.c").write_text(LAMP)
    (folder / "socket.c").write_text(SOCKET)
    (folder / "x64" / "data.txt").write_text("data")
    (folder / "scenarios" / "all.py").write_text(SCENARIOS)
    for name, text in (("tap", TAP), ("gtest", GTEST), ("crashes", CRASHES), ("hangs", HANGS)):
        source = folder / f"{name}.c.txt"
        source.write_text(text)
        target = str(folder / "x64" / f"{name}.exe")
        command = ["x86_64-w64-mingw32-gcc", "-x", "c", str(source), "-o", target]
        subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def results(winvm: CommandLine, project: Path) -> dict[str, Any]:
    done = winvm.run("--config", str(project / "winvm.toml"), "run", timeout=600)
    assert done.returncode == 1, done.stdout.decode() + done.stderr.decode()
    document = json.loads((project / "artifacts" / "latest" / "results.json").read_text())
    return {scenario["name"]: scenario for scenario in document["scenarios"]}


def test_each_program_gives_its_verdict(results: dict[str, Any]) -> None:
    assert {name: result["outcome"] for name, result in results.items()} == {
        "all.tap": "passed",
        "all.gtest": "failed",
        "all.fails": "passed",
        "all.crashes": "failed",
        "all.hangs": "failed",
        "all.missing": "failed",
        "all.both_run": "passed",
        "all.finds_its_parameters": "passed",
        **{f"all.opens_by[name{number}]": "passed" for number in range(5)},
    }
    assert "STATUS_ACCESS_VIOLATION" in results["all.crashes"]["message"]
    assert "did not happen within" in results["all.hangs"]["message"]
    assert "deploy.files" in results["all.missing"]["message"]


def test_single_tests_are_subresults(results: dict[str, Any]) -> None:
    assert results["all.tap"]["subresults"] == [
        {"name": "data", "outcome": "passed", "message": ""},
        {"name": "arguments", "outcome": "passed", "message": ""},
    ]
    failed, passed = results["all.gtest"]["subresults"]
    assert failed == {"name": "Lamp.Off", "outcome": "failed", "message": "still on"}
    assert passed["name"] == "Lamp.On"
    assert "still on" in results["all.gtest"]["message"]


def test_the_drivers_load_in_their_order(results: dict[str, Any], project: Path) -> None:
    log = (project / "artifacts" / "latest" / "dbgprint.log").read_text()
    assert log.index("socket: loaded") < log.index("lamp: start 1, limit 42") < log.index("switch: loaded")
