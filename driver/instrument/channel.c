/*
 * channel.c - the device by which the guest's agent reads from an instrumented driver. It belongs to a driver object of
 * its own, so that the driver under test keeps its dispatch table and its list of devices.
 */
#include "instrument.h"

#define NAME_LIMIT 160

/* Neither is in the WDK's headers; Windows and Wine export both. */
NTSTATUS NTAPI IoCreateDriver(PUNICODE_STRING Name, PDRIVER_INITIALIZE Initialize);
VOID NTAPI IoDeleteDriver(PDRIVER_OBJECT DriverObject);

static WINVM_PART_READ *Parts[WINVM_CHANNEL_PARTS];
static PDRIVER_OBJECT Channel;
static PDEVICE_OBJECT Device;
static WCHAR NameBuffer[NAME_LIMIT];

VOID WinvmChannelAdd(ULONG Part, WINVM_PART_READ *Read) {
    if (Part < WINVM_CHANNEL_PARTS) {
        Parts[Part] = Read;
    }
}

ULONG WinvmCopyPart(const VOID *Content, ULONGLONG Size, ULONGLONG Offset, PVOID Buffer, ULONG Length) {
    if (Offset >= Size) {
        return 0;
    }
    ULONG copied = Size - Offset < Length ? (ULONG)(Size - Offset) : Length;
    RtlCopyMemory(Buffer, (const UCHAR *)Content + Offset, copied);
    return copied;
}

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information) {
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static NTSTATUS NTAPI OpenOrClose(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    UNREFERENCED_PARAMETER(DeviceObject);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;
    ULONG part = ((code >> 2) & 0xFFF) - 0x800;
    ULONGLONG offset;

    UNREFERENCED_PARAMETER(DeviceObject);
    if (part >= WINVM_CHANNEL_PARTS || Parts[part] == NULL ||
        code != CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + part, METHOD_BUFFERED, FILE_READ_DATA)) {
        return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    if (stack->Parameters.DeviceIoControl.InputBufferLength != sizeof(offset)) {
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    }
    RtlCopyMemory(&offset, Irp->AssociatedIrp.SystemBuffer, sizeof(offset));
    ULONG length = stack->Parameters.DeviceIoControl.OutputBufferLength;
    return Complete(Irp, STATUS_SUCCESS, Parts[part](offset, Irp->AssociatedIrp.SystemBuffer, length));
}

/* Puts a prefix and the service's name into a string of NAME_LIMIT characters. */
static VOID Name(PUNICODE_STRING Made, PCWSTR Prefix, PCUNICODE_STRING Service) {
    Made->Buffer = NameBuffer;
    Made->Length = 0;
    Made->MaximumLength = sizeof(NameBuffer);
    RtlAppendUnicodeToString(Made, Prefix);
    RtlAppendUnicodeStringToString(Made, Service);
}

static NTSTATUS NTAPI Initialize(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->MajorFunction[IRP_MJ_CREATE] = OpenOrClose;
    DriverObject->MajorFunction[IRP_MJ_CLEANUP] = OpenOrClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = OpenOrClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    Channel = DriverObject;
    return STATUS_SUCCESS;
}

NTSTATUS WinvmChannelOpen(PCUNICODE_STRING Service) {
    UNICODE_STRING name;

    Name(&name, L"\\Driver\\WinvmInstrument-", Service);
    NTSTATUS status = IoCreateDriver(&name, Initialize);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    Name(&name, L"\\Device\\WinvmInstrument-", Service);
    status = IoCreateDevice(Channel, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (!NT_SUCCESS(status)) {
        IoDeleteDriver(Channel);
        Channel = NULL;
        return status;
    }
    Device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}

VOID WinvmChannelClose(VOID) {
    if (Channel != NULL) {
        IoDeleteDevice(Device);
        IoDeleteDriver(Channel);
        Channel = NULL;
    }
}
