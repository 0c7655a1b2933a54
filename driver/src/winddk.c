/*
 * winddk.c - \Device\WinDDK: kernel memory mapped into the caller, and records written to the caller's own heap.
 *
 * A mapping belongs to one handle and one process. It must be unmapped in that process, while its address space exists:
 * when the handle is cleaned up, or, if a duplicate in another process keeps the handle open, when the owner exits.
 */
#include "winvm.h"

#define MAPPED_BYTES ROUND_TO_PAGES(WINVM_USER_RECORDS * sizeof(WINVM_USER))

/* For all callers together, 23 MB: allocations of a page or more are not charged to a process's quota. */
#define MAPPINGS_LIMIT 64

typedef struct MAPPING {
    LIST_ENTRY Entry; /* in WINDDK_STATE.Mappings while Mdl is not NULL */
    PVOID Memory;
    PMDL Mdl;
    PVOID UserAddress;
    PEPROCESS Owner; /* referenced */
} MAPPING;

typedef struct WINDDK_STATE {
    FAST_MUTEX Lock; /* guards all mappings; a process cannot finish exiting while its notification waits for it */
    LIST_ENTRY Mappings;
    ULONG Count; /* of Mappings */
} WINDDK_STATE;

/* Process notifications carry no context. */
static WINDDK_STATE *State;

static NTSTATUS MapUser(_Inout_ MAPPING *Mapping) {
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    __try {
        Mapping->UserAddress = MmMapLockedPagesSpecifyCache(Mapping->Mdl, UserMode, MmCached, NULL, FALSE,
                                                            NormalPagePriority | MdlMappingNoExecute);
    } __except (status = GetExceptionCode(), EXCEPTION_EXECUTE_HANDLER) {
        Mapping->UserAddress = NULL;
    }
    return Mapping->UserAddress ? STATUS_SUCCESS : status;
}

static VOID FillUsers(_Out_ WINVM_USER *Users) {
    RtlZeroMemory(Users, MAPPED_BYTES); /* whole pages: nothing else of the kernel's becomes visible */
    for (ULONG i = 0; i < WINVM_USER_RECORDS; i++) {
        RtlCopyMemory(Users[i].username, WINVM_USERNAME, sizeof(WINVM_USERNAME));
        RtlCopyMemory(Users[i].password, WINVM_PASSWORD, sizeof(WINVM_PASSWORD));
    }
    Users[0].count = WINVM_USER_RECORDS;
}

static VOID FreeMapping(_Inout_ MAPPING *Mapping) {
    if (Mapping->Mdl) {
        IoFreeMdl(Mapping->Mdl);
    }
    if (Mapping->Memory) {
        ExFreePoolWithTag(Mapping->Memory, WINVM_POOL_TAG);
    }
    Mapping->Mdl = NULL;
    Mapping->Memory = NULL;
    Mapping->UserAddress = NULL;
}

_Requires_lock_held_(State->Lock) static NTSTATUS CreateMapping(_Inout_ MAPPING *Mapping) {
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    if (State->Count < MAPPINGS_LIMIT) {
        Mapping->Memory = ExAllocatePoolWithTag(NonPagedPoolNx, MAPPED_BYTES, WINVM_POOL_TAG);
    }
    if (Mapping->Memory) {
        FillUsers(Mapping->Memory);
        Mapping->Mdl = IoAllocateMdl(Mapping->Memory, MAPPED_BYTES, FALSE, FALSE, NULL);
    }
    if (Mapping->Mdl) {
        MmBuildMdlForNonPagedPool(Mapping->Mdl);
        status = MapUser(Mapping);
    }
    if (!NT_SUCCESS(status)) {
        FreeMapping(Mapping);
        DbgPrint("winvm: WinDDK: cannot map into the caller, status 0x%08X\n", status);
        return status;
    }
    Mapping->Owner = PsGetCurrentProcess();
    ObReferenceObject(Mapping->Owner);
    InsertTailList(&State->Mappings, &Mapping->Entry);
    State->Count++;
    DbgPrint("winvm: WinDDK: mapped at %p\n", Mapping->UserAddress);
    return STATUS_SUCCESS;
}

_Requires_lock_held_(State->Lock) static VOID DestroyMapping(_Inout_ MAPPING *Mapping) {
    BOOLEAN elsewhere = Mapping->Owner != PsGetCurrentProcess();
    KAPC_STATE apcState;

    if (elsewhere) {
        KeStackAttachProcess((PKPROCESS)Mapping->Owner, &apcState);
    }
    MmUnmapLockedPages(Mapping->UserAddress, Mapping->Mdl);
    if (elsewhere) {
        KeUnstackDetachProcess(&apcState);
    }
    DbgPrint("winvm: WinDDK: unmapped %p\n", Mapping->UserAddress);
    RemoveEntryList(&Mapping->Entry);
    State->Count--;
    FreeMapping(Mapping);
    ObDereferenceObject(Mapping->Owner);
    Mapping->Owner = NULL;
}

static VOID NTAPI ProcessChanged(_In_ HANDLE Parent, _In_ HANDLE Process, _In_ BOOLEAN Created) {
    PLIST_ENTRY next;

    UNREFERENCED_PARAMETER(Parent);
    if (Created) {
        return;
    }
    ExAcquireFastMutex(&State->Lock);
    for (PLIST_ENTRY entry = State->Mappings.Flink; entry != &State->Mappings; entry = next) {
        MAPPING *mapping = CONTAINING_RECORD(entry, MAPPING, Entry);

        next = entry->Flink;
        if (PsGetProcessId(mapping->Owner) == Process) {
            DestroyMapping(mapping);
        }
    }
    ExReleaseFastMutex(&State->Lock);
}

static NTSTATUS Map(_Inout_ WINVM_REQUEST *Request) {
    MAPPING *mapping = WINVM_FILE_STATE(MAPPING, Request->File);
    BOOLEAN narrow = IoIs32bitProcess(Request->Irp);
    ULONG_PTR address = 0;
    NTSTATUS status = STATUS_SUCCESS;

    if (WinvmSecondLength(Request) < (narrow ? sizeof(ULONG) : sizeof(ULONG64))) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    ExAcquireFastMutex(&State->Lock);
    if (Request->File->CleanedUp) {
        status = STATUS_INVALID_HANDLE; /* closed during this request: nothing would unmap the mapping */
    } else if (mapping->Mdl == NULL) {
        status = CreateMapping(mapping);
    } else if (mapping->Owner != PsGetCurrentProcess()) {
        status = STATUS_INVALID_DEVICE_STATE; /* an address of the other process is not valid here */
    }
    address = (ULONG_PTR)mapping->UserAddress;
    ExReleaseFastMutex(&State->Lock);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    return WinvmGive(Request, &address, narrow ? sizeof(ULONG) : sizeof(ULONG64)); /* little endian */
}

static WINVM_PAGED NTSTATUS FillHeap(_Inout_ WINVM_REQUEST *Request) {
    WINVM_PROCESS_RECORD records[WINVM_PROCESS_RECORDS];
    WINVM_HEAP_REQUEST heap;
    uint32_t count = WINVM_PROCESS_RECORDS;
    NTSTATUS status;

    PAGED_CODE();
    if (IoIs32bitProcess(Request->Irp)) {
        WINVM_HEAP_REQUEST32 narrow;

        status = WinvmTakeFirst(Request, &narrow, sizeof(narrow));
        heap.nSize = narrow.nSize;
        heap.BufferPtr = narrow.BufferPtr;
    } else {
        status = WinvmTakeFirst(Request, &heap, sizeof(heap));
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (heap.nSize < sizeof(records) || WinvmSecondLength(Request) < sizeof(count)) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    for (ULONG i = 0; i < WINVM_PROCESS_RECORDS; i++) {
        records[i].PID = 2 * i;
        records[i].PPID = 4 * i;
    }
    status = WinvmWriteUser(Request->Irp->RequestorMode, (PVOID)(ULONG_PTR)heap.BufferPtr, records, sizeof(records), 1);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    DbgPrint("winvm: WinDDK: %u records to the caller's heap\n", count);
    return WinvmGive(Request, &count, sizeof(count));
}

static WINVM_PAGED VOID Cleanup(_Inout_ WINVM_DEVICE *Device, _Inout_ WINVM_FILE *File, _In_ PFILE_OBJECT FileObject) {
    MAPPING *mapping = WINVM_FILE_STATE(MAPPING, File);

    UNREFERENCED_PARAMETER(Device);
    UNREFERENCED_PARAMETER(FileObject);
    PAGED_CODE();
    ExAcquireFastMutex(&State->Lock);
    if (mapping->Mdl) {
        DestroyMapping(mapping);
    }
    ExReleaseFastMutex(&State->Lock);
}

static WINVM_INIT NTSTATUS Start(_Inout_ WINVM_DEVICE *Device) {
    State = WINVM_STATE(WINDDK_STATE, Device);
    ExInitializeFastMutex(&State->Lock);
    InitializeListHead(&State->Mappings);
    return PsSetCreateProcessNotifyRoutine(ProcessChanged, FALSE);
}

static WINVM_PAGED VOID Stop(_Inout_ WINVM_DEVICE *Device) {
    UNREFERENCED_PARAMETER(Device);
    PAGED_CODE();
    PsSetCreateProcessNotifyRoutine(ProcessChanged, TRUE);
}

static const WINVM_CONTROL Controls[] = {
    WINVM_CONTROL_ROW(WINVM_IOCTL_WINDDK_MAP, FILE_ANY_ACCESS, Map),
    WINVM_CONTROL_ROW(WINVM_IOCTL_WINDDK_FILL_HEAP, FILE_ANY_ACCESS, FillHeap),
};

const WINVM_CLASS WinvmWinDdkClass = {
    .Name = "WinDDK",
    .DeviceName = WINVM_DEVICE_NAME_WINDDK,
    .LinkName = WINVM_LINK_NAME_WINDDK,
    .IoFlags = DO_BUFFERED_IO,
    .StateSize = sizeof(WINDDK_STATE),
    .FileStateSize = sizeof(MAPPING),
    .Start = Start,
    .Stop = Stop,
    .Cleanup = Cleanup,
    .Controls = Controls,
    .ControlCount = ARRAYSIZE(Controls),
};
