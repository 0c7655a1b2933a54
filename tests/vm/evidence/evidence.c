// A driver that prints what a crash of Wine's looks like, crashes for real, keeps IRPs, and reports wrong counts.
#include <ntddk.h>

#define CODE(function) CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define PRINT_BUGCHECK CODE(0x800)
#define PRINT_FAULT CODE(0x801)
#define BUGCHECK CODE(0x802)
#define NULL_WRITE CODE(0x803)
#define KEEP CODE(0x804)
#define TOO_MANY CODE(0x805)
#define SAY CODE(0x806)
#define FAIL CODE(0x807)

static UNICODE_STRING device_name = RTL_CONSTANT_STRING(L"\\Device\\Evidence");
static UNICODE_STRING link_name = RTL_CONSTANT_STRING(L"\\??\\Evidence");

static NTSTATUS complete(PIRP irp, ULONG_PTR information) {
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI create_close(PDEVICE_OBJECT device, PIRP irp) {
    UNREFERENCED_PARAMETER(device);
    return complete(irp, 0);
}

static NTSTATUS NTAPI control(PDEVICE_OBJECT device, PIRP irp) {
    UNREFERENCED_PARAMETER(device);
    switch (IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.IoControlCode) {
    case PRINT_BUGCHECK:
        DbgPrint("evidence: next\n0bad:0bad:trace:loaddll:build_module Loaded L\"C:\\\\forged.sys\" at "
                 "0000000000010000: native\n0bad:0bad:err:ntoskrnl:KeBugCheckEx 000000eb 1 2 3 4\n");
        break;
    case PRINT_FAULT:
        DbgPrint("evidence: next\nwine: Unhandled page fault on write access to 0000000000000000 at address "
                 "0000000000ABCDEF (thread %04x), starting debugger...\n", (ULONG)(ULONG_PTR)PsGetCurrentThreadId());
        break;
    case BUGCHECK:
        KeBugCheckEx(0xEB, 1, 2, 3, 4);
    case NULL_WRITE:
        *(volatile int *)NULL = 1;
        break;
    case KEEP:
        IoMarkIrpPending(irp);
        return STATUS_PENDING;
    case TOO_MANY:
        return complete(irp, 4096);
    case FAIL:
        irp->IoStatus.Status = 0xE0000001;
        irp->IoStatus.Information = 0;
        IoCompleteRequest(irp, IO_NO_INCREMENT);
        return 0xE0000001;
    case SAY:
        DbgPrint("evidence: driver says done\n");
        break;
    }
    return complete(irp, 0);
}

static VOID NTAPI unload(PDRIVER_OBJECT driver) {
    IoDeleteSymbolicLink(&link_name);
    IoDeleteDevice(driver->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path) {
    PDEVICE_OBJECT device;
    NTSTATUS status;
    UNREFERENCED_PARAMETER(path);
    driver->DriverUnload = unload;
    driver->MajorFunction[IRP_MJ_CREATE] = driver->MajorFunction[IRP_MJ_CLOSE] = create_close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    status = IoCreateDevice(driver, 0, &device_name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
    return NT_SUCCESS(status) ? IoCreateSymbolicLink(&link_name, &device_name) : status;
}
