/* sins.c - DriverEntry, dispatch and unload. Code 0x800 + n is sin n of a list, 0x80 codes or more a list; input is 1 to be
 * clean. */
#include "sins.h"

static UNICODE_STRING Name = RTL_CONSTANT_STRING(L"\\Device\\Sins");
static UNICODE_STRING Link = RTL_CONSTANT_STRING(L"\\DosDevices\\Sins");
ULONG LeftBehind;

VOID Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information) {
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
}

static NTSTATUS NTAPI Open(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    (void)DeviceObject;
    Complete(Irp, STATUS_SUCCESS, 0);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG number = (stack->Parameters.DeviceIoControl.IoControlCode >> 2) & 0x7FF;
    SIN sin = {DeviceObject, Irp, FALSE, FALSE, STATUS_SUCCESS, 0};
    SIN_ROUTINE *routine = NULL;

    if (stack->Parameters.DeviceIoControl.InputBufferLength != 4) {
        Complete(Irp, STATUS_INVALID_PARAMETER, 0);
        return STATUS_INVALID_PARAMETER;
    }
    sin.Clean = *(ULONG *)Irp->AssociatedIrp.SystemBuffer == 1;
    if (number >= 0x300) {
        LeftBehind = sin.Clean ? 0 : number - 0x300;
    } else if (number >= 0x200 && number - 0x200 < LevelSinCount) {
        routine = LevelSins[number - 0x200];
    } else if (number >= 0x180 && number - 0x180 < OtherSinCount) {
        routine = OtherSins[number - 0x180];
    } else if (number >= 0x100 && number - 0x100 < IrpSinCount) {
        routine = IrpSins[number - 0x100];
    } else if (number < PoolSinCount) {
        routine = PoolSins[number];
    }
    if (routine) {
        routine(&sin);
    }
    if (!sin.Done) {
        Complete(Irp, sin.Status, sin.Information);
    }
    return sin.Status;
}

static VOID NTAPI Unload(PDRIVER_OBJECT DriverObject) {
    IoDeleteSymbolicLink(&Link);
    LeaveBehind(DriverObject);
    IoDeleteDevice(DriverObject->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    PDEVICE_OBJECT device;

    (void)RegistryPath;
    DriverObject->DriverUnload = Unload;
    DriverObject->MajorFunction[IRP_MJ_CREATE] = DriverObject->MajorFunction[IRP_MJ_CLOSE] = Open;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    NTSTATUS status = IoCreateDevice(DriverObject, sizeof(SINS_DEVICE), &Name, 0x22, 0, FALSE, &device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    SINS_DEVICE *own = device->DeviceExtension;
    KeInitializeSpinLock(&own->First);
    KeInitializeSpinLock(&own->Second);
    ExInitializeFastMutex(&own->Mutex);
    KeInitializeTimer(&own->Timer);
    IoInitializeRemoveLock(&own->Removal, TAG, 0, 0);
    status = IoCreateSymbolicLink(&Link, &Name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
    }
    return status;
}
