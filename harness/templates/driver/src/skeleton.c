/*
 * skeleton.c - \Device\Skeleton: keeps one text, which WriteFile sets and ReadFile returns; control codes do the rest.
 *
 * All requests are buffered and completed at once, in the caller's thread at PASSIVE_LEVEL.
 */
#include <wdm.h>

#include "skeleton_contract.h"
#include "skeleton_contract_hash.h"

/* clang's mingw target has no alloc_text; sections do the same. INIT is discarded after DriverEntry returns. */
#define INIT __attribute__((section("INIT"), noinline))
#define PAGED __attribute__((section("PAGE"), noinline))

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD SkeletonUnload;
DRIVER_DISPATCH SkeletonOpenClose;
DRIVER_DISPATCH SkeletonTransfer;

typedef struct STATE {
    FAST_MUTEX Lock; /* of everything below */
    SKELETON_COUNTERS Counters;
    UCHAR Text[SKELETON_TEXT_LIMIT];
} STATE;

/* One buffered request: the system buffer holds InputLength bytes and has room for OutputLength. */
typedef struct REQUEST {
    PVOID Buffer;
    ULONG InputLength;
    ULONG OutputLength;
    ULONG_PTR Information; /* bytes transferred */
} REQUEST;

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Skeleton");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Skeleton");

static PAGED NTSTATUS Give(_Inout_ REQUEST *Request, _In_reads_bytes_(Size) const VOID *From, _In_ ULONG Size) {
    PAGED_CODE();
    if (Request->OutputLength < Size) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    RtlCopyMemory(Request->Buffer, From, Size);
    Request->Information = Size;
    return STATUS_SUCCESS;
}

static PAGED NTSTATUS Read(_Inout_ STATE *State, _Inout_ REQUEST *Request) {
    PAGED_CODE();
    ExAcquireFastMutex(&State->Lock);
    NTSTATUS status = Give(Request, State->Text, min(Request->OutputLength, State->Counters.length));
    State->Counters.reads++;
    ExReleaseFastMutex(&State->Lock);
    return status;
}

static PAGED NTSTATUS Write(_Inout_ STATE *State, _Inout_ REQUEST *Request) {
    PAGED_CODE();
    if (Request->InputLength > SKELETON_TEXT_LIMIT) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    ExAcquireFastMutex(&State->Lock);
    RtlCopyMemory(State->Text, Request->Buffer, Request->InputLength);
    State->Counters.length = Request->InputLength;
    State->Counters.writes++;
    ExReleaseFastMutex(&State->Lock);
    Request->Information = Request->InputLength;
    DbgPrint("skeleton: text set, %u bytes\n", Request->InputLength);
    return STATUS_SUCCESS;
}

static PAGED NTSTATUS Hello(_Inout_ REQUEST *Request) {
    static const SKELETON_HELLO answer = {SKELETON_CONTRACT_VERSION, {SKELETON_CONTRACT_HASH_BYTES}};

    PAGED_CODE();
    return Give(Request, &answer, sizeof(answer));
}

static PAGED NTSTATUS GetCounters(_Inout_ STATE *State, _Inout_ REQUEST *Request) {
    PAGED_CODE();
    ExAcquireFastMutex(&State->Lock);
    NTSTATUS status = Give(Request, &State->Counters, sizeof(State->Counters));
    ExReleaseFastMutex(&State->Lock);
    return status;
}

static PAGED NTSTATUS Clear(_Inout_ STATE *State) {
    PAGED_CODE();
    ExAcquireFastMutex(&State->Lock);
    State->Counters.length = 0;
    ExReleaseFastMutex(&State->Lock);
    DbgPrint("skeleton: text cleared\n");
    return STATUS_SUCCESS;
}

#if DBG
static PAGED NTSTATUS BugCheck(_In_ const REQUEST *Request) {
    const SKELETON_BUGCHECK *wanted = Request->Buffer;

    PAGED_CODE();
    if (Request->InputLength != sizeof(*wanted)) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    DbgPrint("skeleton: bugcheck 0x%X asked for\n", wanted->code);
    KeBugCheckEx(wanted->code, (ULONG_PTR)wanted->parameters[0], (ULONG_PTR)wanted->parameters[1],
                 (ULONG_PTR)wanted->parameters[2], (ULONG_PTR)wanted->parameters[3]);
}
#endif

static PAGED NTSTATUS Control(_Inout_ STATE *State, _Inout_ REQUEST *Request, _In_ ULONG Code) {
    PAGED_CODE();
    switch (Code) {
        case SKELETON_IOCTL_HELLO:
            return Hello(Request);
        case SKELETON_IOCTL_COUNTERS:
            return GetCounters(State, Request);
        case SKELETON_IOCTL_CLEAR:
            return Clear(State);
#if DBG
        case SKELETON_IOCTL_BUGCHECK:
            return BugCheck(Request);
#endif
        default:
            return STATUS_INVALID_DEVICE_REQUEST;
    }
}

static PAGED NTSTATUS Complete(_Inout_ PIRP Irp, _In_ NTSTATUS Status, _In_ ULONG_PTR Information) {
    PAGED_CODE();
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

PAGED NTSTATUS NTAPI SkeletonOpenClose(_In_ PDEVICE_OBJECT DeviceObject, _Inout_ PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    NTSTATUS status = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(DeviceObject);
    PAGED_CODE();
    if (stack->MajorFunction == IRP_MJ_CREATE && stack->FileObject->FileName.Length != 0) {
        status = STATUS_OBJECT_NAME_NOT_FOUND; /* the device has no namespace of its own */
    }
    return Complete(Irp, status, 0);
}

PAGED NTSTATUS NTAPI SkeletonTransfer(_In_ PDEVICE_OBJECT DeviceObject, _Inout_ PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    STATE *state = DeviceObject->DeviceExtension;
    REQUEST request = {.Buffer = Irp->AssociatedIrp.SystemBuffer};
    NTSTATUS status;

    PAGED_CODE();
    switch (stack->MajorFunction) {
        case IRP_MJ_READ:
            request.OutputLength = stack->Parameters.Read.Length;
            status = Read(state, &request);
            break;
        case IRP_MJ_WRITE:
            request.InputLength = stack->Parameters.Write.Length;
            status = Write(state, &request);
            break;
        default: /* IRP_MJ_DEVICE_CONTROL */
            request.InputLength = stack->Parameters.DeviceIoControl.InputBufferLength;
            request.OutputLength = stack->Parameters.DeviceIoControl.OutputBufferLength;
            status = Control(state, &request, stack->Parameters.DeviceIoControl.IoControlCode);
            break;
    }
    return Complete(Irp, status, request.Information);
}

PAGED VOID NTAPI SkeletonUnload(_In_ PDRIVER_OBJECT DriverObject) {
    PAGED_CODE();
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(DriverObject->DeviceObject);
    DbgPrint("skeleton: unloaded\n");
}

INIT NTSTATUS NTAPI DriverEntry(_In_ PDRIVER_OBJECT DriverObject, _In_ PUNICODE_STRING RegistryPath) {
    PDEVICE_OBJECT deviceObject;

    UNREFERENCED_PARAMETER(RegistryPath);
    NTSTATUS status = IoCreateDevice(DriverObject, sizeof(STATE), &DeviceName, FILE_DEVICE_UNKNOWN,
                                     FILE_DEVICE_SECURE_OPEN, FALSE, &deviceObject);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    deviceObject->Flags |= DO_BUFFERED_IO;
    ExInitializeFastMutex(&((STATE *)deviceObject->DeviceExtension)->Lock);
    status = IoCreateSymbolicLink(&LinkName, &DeviceName);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(deviceObject);
        return status;
    }
    DriverObject->DriverUnload = SkeletonUnload;
    DriverObject->MajorFunction[IRP_MJ_CREATE] = SkeletonOpenClose;
    DriverObject->MajorFunction[IRP_MJ_CLEANUP] = SkeletonOpenClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = SkeletonOpenClose;
    DriverObject->MajorFunction[IRP_MJ_READ] = SkeletonTransfer;
    DriverObject->MajorFunction[IRP_MJ_WRITE] = SkeletonTransfer;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = SkeletonTransfer;
    DbgPrint("skeleton: loaded, %s build\n", DBG ? "checked" : "release");
    return STATUS_SUCCESS;
}
