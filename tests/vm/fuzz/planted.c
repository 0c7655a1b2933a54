/* planted.c - a driver with one bug of a classic kind behind each device, none of which its valid requests show. */
#include <ntddk.h>

#include "planted_contract.h"

#define TAG 'tnlP'
#define CODE(function) CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)

enum { LONG_DEVICE, SHORT_DEVICE, OVERFLOW_DEVICE, FREED_DEVICE, RACE_DEVICE, DEVICES };

typedef struct REQUEST {
    ULONG Magic;
    ULONG First;
    ULONG Second;
    ULONG Third;
} REQUEST;

typedef struct HANDLE_STATE { /* of one open handle */
    LONG Uses;
    ULONG Kind;
    UCHAR Room[56];
} HANDLE_STATE;

typedef struct PLANTED {
    ULONG Kind;
    HANDLE_STATE *Shared; /* FREED */
} PLANTED;

typedef struct WORK {
    PIO_WORKITEM Item;
    PIRP Irp;
    HANDLE_STATE *Context;
    ULONG Delay;
} WORK;

static PDEVICE_OBJECT Made[DEVICES];

static DECLSPEC_NOINLINE NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information) {
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

/* The bug: an output buffer of any length is taken for one of 64 bytes. */
static NTSTATUS Query(PIRP Irp, const REQUEST *Request, ULONG In, ULONG Out) {
    UCHAR *answer = Irp->AssociatedIrp.SystemBuffer;

    if (In < sizeof(*Request) || Request->Magic != 0x59525551) {
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    }
    if (Request->First == 0x1007) {
        RtlFillMemory(answer, Out < 64 ? Out : 64, 0x5A);
        return Complete(Irp, STATUS_SUCCESS, 64);
    }
    if (Out < 4) {
        return Complete(Irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    *(ULONG *)answer = Request->First;
    return Complete(Irp, STATUS_SUCCESS, 4);
}

/* The bug: the flag at offset 28 is there only in requests of 32 bytes, and half of them are enough to get here. */
static NTSTATUS Mark(PIRP Irp, const REQUEST *Request, ULONG In) {
    if (In < sizeof(*Request) || In > 4096 || Request->Magic != 0x4B52414D || Request->First != 2) {
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    }
    UCHAR *copy = ExAllocatePoolWithTag(NonPagedPoolNx, In, TAG);
    if (copy == NULL) {
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    RtlCopyMemory(copy, Request, In);
    if (Request->Second == 0xBEEF) {
        ((volatile ULONG *)copy)[7] |= 1;
    }
    ExFreePoolWithTag(copy, TAG);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

/* The bug: the product of count and size has 32 bits. */
static NTSTATUS Fill(PIRP Irp, const REQUEST *Request, ULONG In) {
    if (In < sizeof(*Request) || Request->Magic != 0x4C4C4946) {
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    }
    ULONG count = Request->First, size = Request->Second;
    if (size < 4 || size > 4096 || count == 0) {
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    }
    ULONG total = count * size + sizeof(REQUEST);
    if (total > 0x10000) {
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    volatile UCHAR *block = ExAllocatePoolWithTag(NonPagedPoolNx, total, TAG);
    if (block == NULL) {
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    for (ULONG index = 0; index < count; index++) {
        block[sizeof(REQUEST) + (SIZE_T)index * size] = 1;
    }
    ExFreePoolWithTag((PVOID)block, TAG);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

/* The bug: DELETE of kind 3 leaves the pointer for USE. */
static NTSTATUS Shared(PIRP Irp, PLANTED *Own, ULONG Code, const REQUEST *Request, ULONG In) {
    if (In < sizeof(*Request) || Request->Magic != 0x44455246) {
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    }
    if (Code == CODE(0x804)) {
        if (Own->Shared == NULL) {
            Own->Shared = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(HANDLE_STATE), TAG);
            if (Own->Shared == NULL) {
                return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES, 0);
            }
            Own->Shared->Kind = Request->First;
        }
    } else if (Own->Shared == NULL) {
        return Complete(Irp, STATUS_NOT_FOUND, 0);
    } else if (Code == CODE(0x805)) {
        ULONG kind = Own->Shared->Kind;
        ExFreePoolWithTag(Own->Shared, TAG);
        if (kind != 0x333) {
            Own->Shared = NULL;
        }
    } else {
        Own->Shared->Uses++;
    }
    return Complete(Irp, STATUS_SUCCESS, 0);
}

static VOID NTAPI Worker(PDEVICE_OBJECT DeviceObject, PVOID Given) {
    WORK work = *(WORK *)Given;
    LARGE_INTEGER delay = {.QuadPart = -10000LL * work.Delay};

    UNREFERENCED_PARAMETER(DeviceObject);
    IoFreeWorkItem(work.Item);
    ExFreePoolWithTag(Given, TAG);
    KeDelayExecutionThread(KernelMode, FALSE, &delay);
    work.Context->Uses++;
    Complete(work.Irp, STATUS_SUCCESS, 0);
}

/* The bug: the context goes when the handle is closed, although the request is still queued. */
static NTSTATUS Queue(PDEVICE_OBJECT DeviceObject, PIRP Irp, PFILE_OBJECT File, const REQUEST *Request, ULONG In) {
    if (In < sizeof(*Request) || Request->Magic != 0x45434152 || Request->First > 40) {
        return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
    }
    WORK *work = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*work), TAG);
    PIO_WORKITEM item = work ? IoAllocateWorkItem(DeviceObject) : NULL;
    if (item == NULL) {
        if (work) {
            ExFreePoolWithTag(work, TAG);
        }
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    *work = (WORK){item, Irp, File->FsContext, Request->First};
    IoMarkIrpPending(Irp);
    IoQueueWorkItem(item, Worker, DelayedWorkQueue, work);
    return STATUS_PENDING;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    PLANTED *own = DeviceObject->DeviceExtension;
    ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    const REQUEST *request = Irp->AssociatedIrp.SystemBuffer;

    if (code == CODE(0x800)) {
        return Complete(Irp, STATUS_SUCCESS, 0);
    }
    if (own->Kind == LONG_DEVICE && code == CODE(0x801)) {
        return Query(Irp, request, in, out);
    }
    if (own->Kind == SHORT_DEVICE && code == CODE(0x802)) {
        return Mark(Irp, request, in);
    }
    if (own->Kind == OVERFLOW_DEVICE && code == CODE(0x803)) {
        return Fill(Irp, request, in);
    }
    if (own->Kind == FREED_DEVICE && code >= CODE(0x804) && code <= CODE(0x806)) {
        return Shared(Irp, own, code, request, in);
    }
    if (own->Kind == RACE_DEVICE && code == CODE(0x807)) {
        return Queue(DeviceObject, Irp, stack->FileObject, request, in);
    }
    return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
}

static NTSTATUS NTAPI Open(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(Irp)->FileObject;

    UNREFERENCED_PARAMETER(DeviceObject);
    file->FsContext = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(HANDLE_STATE), TAG);
    return Complete(Irp, file->FsContext ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES, 0);
}

/* IRP_MJ_CLEANUP, when the last handle is closed, and IRP_MJ_CLOSE, whichever comes first. */
static NTSTATUS NTAPI Close(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(Irp)->FileObject;
    HANDLE_STATE *context = file->FsContext;

    UNREFERENCED_PARAMETER(DeviceObject);
    file->FsContext = NULL;
    if (context) {
        ExFreePoolWithTag(context, TAG);
    }
    return Complete(Irp, STATUS_SUCCESS, 0);
}

#define NAME_(device, name, link) RTL_CONSTANT_STRING(L"\\Device\\" name),
#define LINK_(device, name, link) RTL_CONSTANT_STRING(L"\\DosDevices\\" link),
static UNICODE_STRING Names[DEVICES] = {PLANTED_DEVICES(NAME_)};
static UNICODE_STRING Links[DEVICES] = {PLANTED_DEVICES(LINK_)};

static VOID NTAPI Unload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    for (ULONG kind = 0; kind < DEVICES; kind++) {
        if (Made[kind] == NULL) {
            continue;
        }
        PLANTED *own = Made[kind]->DeviceExtension;
        if (own->Shared) {
            ExFreePoolWithTag(own->Shared, TAG);
        }
        IoDeleteSymbolicLink(&Links[kind]);
        IoDeleteDevice(Made[kind]);
        Made[kind] = NULL;
    }
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    NTSTATUS status = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = Unload;
    DriverObject->MajorFunction[IRP_MJ_CREATE] = Open;
    DriverObject->MajorFunction[IRP_MJ_CLEANUP] = DriverObject->MajorFunction[IRP_MJ_CLOSE] = Close;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    for (ULONG kind = 0; kind < DEVICES && NT_SUCCESS(status); kind++) {
        status =
            IoCreateDevice(DriverObject, sizeof(PLANTED), &Names[kind], FILE_DEVICE_UNKNOWN, 0, FALSE, &Made[kind]);
        if (NT_SUCCESS(status)) {
            ((PLANTED *)Made[kind]->DeviceExtension)->Kind = kind;
            status = IoCreateSymbolicLink(&Links[kind], &Names[kind]);
        }
    }
    if (!NT_SUCCESS(status)) {
        Unload(DriverObject);
    }
    return status;
}
