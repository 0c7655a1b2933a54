"""A driver that overruns a buffer on its stack as far as a request says, and scenarios that send it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

NAME = "overrun"
SOURCE = """#include <ntddk.h>
static UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\\\Device\\\\Overrun");
static UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\\\??\\\\Overrun");
static VOID NTAPI Unload(PDRIVER_OBJECT d) { IoDeleteSymbolicLink(&link); IoDeleteDevice(d->DeviceObject); }
static NTSTATUS Done(PIRP i, NTSTATUS s) {
    i->IoStatus.Status = s; i->IoStatus.Information = 0; IoCompleteRequest(i, 0); return s;
}
__attribute__((noinline)) static NTSTATUS NTAPI Open(PDEVICE_OBJECT o, PIRP i) { (void)o; return Done(i, 0); }
__attribute__((noinline)) static NTSTATUS Telling(PVOID from, SIZE_T size) {
    UCHAR buffer[512] = {0};
    __try {
        DbgPrint("overrun: %u bytes into %p, aloud\\n", (ULONG)size, buffer);
        RtlCopyMemory(buffer, from, size);
    } __except (EXCEPTION_EXECUTE_HANDLER) { return STATUS_UNSUCCESSFUL; }
    return buffer[7];
}
__attribute__((noinline)) static NTSTATUS Silent(PVOID from, SIZE_T size) {
    UCHAR buffer[512];
    RtlCopyMemory(buffer, from, size);
    return ((volatile UCHAR *)buffer)[7];
}
static NTSTATUS NTAPI Control(PDEVICE_OBJECT o, PIRP i) {
    PIO_STACK_LOCATION at = IoGetCurrentIrpStackLocation(i);
    SIZE_T size = at->Parameters.DeviceIoControl.InputBufferLength;
    PVOID from = i->AssociatedIrp.SystemBuffer;
    (void)o;
    if (at->Parameters.DeviceIoControl.IoControlCode == 0x222000) { return Done(i, Telling(from, size)); }
    return Done(i, Silent(from, size));
}
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    PDEVICE_OBJECT o;
    NTSTATUS s;
    (void)p;
    d->DriverUnload = Unload;
    d->MajorFunction[IRP_MJ_CREATE] = d->MajorFunction[IRP_MJ_CLOSE] = Open;
    d->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    DbgPrint("overrun: loaded\\n");
    s = IoCreateDevice(d, 0, &name, 0x22, 0, FALSE, &o);
    return s ? s : IoCreateSymbolicLink(&link, &name);
}
"""
SCENARIOS = '''"""Requests that overrun the buffer: by little, and over the end of the stack."""

from agent import Context, Win32Error, scenario


@scenario(cases={"a_little": (0x222000, 768), "far": (0x222000, 16384), "silent": (0x222004, 768)})
def overrun(t: Context, request: tuple[int, int]) -> None:
    """The driver goes down in this scenario."""
    code, size = request
    with t.open(r"\\\\.\\Overrun") as device:
        try:
            device.ioctl(code, b"B" * size, 0)
        except Win32Error as error:
            t.note(error)


@scenario
def untouched(t: Context) -> None:
    """Nothing is left of the crashes before."""
    t.open(r"\\\\.\\Overrun").close()
'''


def write_overrun_driver(folder: Path, options: Sequence[str] = ()) -> Path:
    """Writes the project into `folder` and returns it; `options` are for clang."""
    (folder / "scenarios").mkdir(parents=True)
    (folder / f"{NAME}.c").write_text(SOURCE)
    (folder / "scenarios" / "overrun.py").write_text(SCENARIOS)
    (folder / "winvm.toml").write_text(
        f'[driver]\nname = "{NAME}"\nsources = ["{NAME}.c"]\noptions = {json.dumps([*options])}\n'
        '[scenarios]\nfolders = ["scenarios"]\n'
    )
    return folder
