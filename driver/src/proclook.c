/*
 * proclook.c - \Device\ProcLook: process starts and exits, reported to user mode in two ways.
 *
 * The old way pulses the named event \BaseNamedObjects\ProcLook and keeps only the newest event; a late reader misses
 * some. The queued way keeps the last events in a ring; every handle has a read position, and a request pends while
 * there is nothing new.
 */
#include "winvm.h"

typedef struct PROCLOOK_STATE {
    WINVM_QUEUE Waiting; /* NEXT requests; its lock guards everything below */
    PKEVENT Event;
    HANDLE EventHandle;
    BOOLEAN EventReferenced;
    ULONG64 Sequence; /* of the newest event; 0 before the first */
    WINVM_PROCESS_EVENT *Ring;
} PROCLOOK_STATE;

typedef struct PROCLOOK_FILE {
    ULONG64 Next; /* sequence number to read next */
} PROCLOOK_FILE;

/* Process notifications carry no context. */
static PROCLOOK_STATE *State;

/* Copies what the file has not seen, oldest first; returns the number of events. */
_Requires_lock_held_(State->Waiting.Lock) static ULONG
    TakeEvents(_Inout_ PROCLOOK_FILE *File, _Out_writes_(Limit) WINVM_PROCESS_EVENT *Events, _In_ ULONG Limit) {
    ULONG count = 0;

    if (State->Sequence >= WINVM_PROCESS_QUEUE_LIMIT && File->Next <= State->Sequence - WINVM_PROCESS_QUEUE_LIMIT) {
        File->Next = State->Sequence - WINVM_PROCESS_QUEUE_LIMIT + 1; /* older ones were overwritten */
    }
    while (count < Limit && File->Next <= State->Sequence) {
        Events[count++] = State->Ring[File->Next++ % WINVM_PROCESS_QUEUE_LIMIT];
    }
    return count;
}

static PROCLOOK_FILE *FileOf(_In_ PIRP Irp) {
    return WINVM_FILE_STATE(PROCLOOK_FILE, IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext);
}

static ULONG RoomOf(_In_ PIRP Irp) {
    return IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength /
           sizeof(WINVM_PROCESS_EVENT);
}

static BOOLEAN HasNews(_In_ PIRP Irp, _In_opt_ PVOID Context) {
    UNREFERENCED_PARAMETER(Context);
    return FileOf(Irp)->Next <= State->Sequence;
}

static VOID NTAPI ProcessChanged(_In_ HANDLE Parent, _In_ HANDLE Process, _In_ BOOLEAN Created) {
    LIST_ENTRY served;
    KIRQL irql;

    InitializeListHead(&served);
    KeAcquireSpinLock(&State->Waiting.Lock, &irql);
    State->Sequence++;
    WINVM_PROCESS_EVENT *event = &State->Ring[State->Sequence % WINVM_PROCESS_QUEUE_LIMIT];
    event->sequence = State->Sequence;
    event->pid = (ULONG_PTR)Process;
    event->parent = (ULONG_PTR)Parent;
    event->created = Created ? 1 : 0;
    event->reserved = 0;
    for (PIRP irp; (irp = WinvmQueueRemove(&State->Waiting, HasNews, NULL)) != NULL;) {
        irp->IoStatus.Information =
            TakeEvents(FileOf(irp), irp->AssociatedIrp.SystemBuffer, RoomOf(irp)) * sizeof(WINVM_PROCESS_EVENT);
        InsertTailList(&served, &irp->Tail.Overlay.ListEntry);
    }
    KeReleaseSpinLock(&State->Waiting.Lock, irql);

    while (!IsListEmpty(&served)) {
        PIRP irp = CONTAINING_RECORD(RemoveHeadList(&served), IRP, Tail.Overlay.ListEntry);

        WinvmComplete(irp, STATUS_SUCCESS, irp->IoStatus.Information);
    }
    DbgPrint("winvm: ProcLook: process %u of %u %s\n", HandleToULong(Process), HandleToULong(Parent),
             Created ? "started" : "exited");
    KeSetEvent(State->Event, IO_NO_INCREMENT, FALSE);
    KeClearEvent(State->Event);
}

static NTSTATUS Newest(_Inout_ WINVM_REQUEST *Request) {
    WINVM_PROCESS_NOTE note;
    KIRQL irql;

    RtlZeroMemory(&note, sizeof(note));
    KeAcquireSpinLock(&State->Waiting.Lock, &irql);
    if (State->Sequence != 0) {
        const WINVM_PROCESS_EVENT *event = &State->Ring[State->Sequence % WINVM_PROCESS_QUEUE_LIMIT];

        note.pid = event->pid;
        note.parent = event->parent;
        note.created = (uint8_t)event->created;
    }
    KeReleaseSpinLock(&State->Waiting.Lock, irql);
    return WinvmGive(Request, &note, sizeof(note));
}

static NTSTATUS Next(_Inout_ WINVM_REQUEST *Request) {
    PIRP irp = Request->Irp;
    NTSTATUS status = STATUS_SUCCESS;
    KIRQL irql;

    if (RoomOf(irp) == 0) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    KeAcquireSpinLock(&State->Waiting.Lock, &irql);
    ULONG count = TakeEvents(FileOf(irp), irp->AssociatedIrp.SystemBuffer, RoomOf(irp));
    if (count == 0) {
        status = WinvmQueueInsert(&State->Waiting, irp);
    }
    KeReleaseSpinLock(&State->Waiting.Lock, irql);
    Request->Information = count * sizeof(WINVM_PROCESS_EVENT);
    return status;
}

static NTSTATUS Open(_Inout_ WINVM_DEVICE *Device, _Inout_ WINVM_FILE *File) {
    KIRQL irql;

    UNREFERENCED_PARAMETER(Device);
    KeAcquireSpinLock(&State->Waiting.Lock, &irql);
    WINVM_FILE_STATE(PROCLOOK_FILE, File)->Next = State->Sequence + 1;
    KeReleaseSpinLock(&State->Waiting.Lock, irql);
    return STATUS_SUCCESS;
}

static WINVM_PAGED VOID Cleanup(_Inout_ WINVM_DEVICE *Device, _Inout_ WINVM_FILE *File, _In_ PFILE_OBJECT FileObject) {
    UNREFERENCED_PARAMETER(Device);
    UNREFERENCED_PARAMETER(File);
    PAGED_CODE();
    WinvmQueueCancelAll(&State->Waiting, FileObject);
}

/* The event may have outlived the driver in a program that still has it open; Wine creates, but does not open it. */
static WINVM_INIT VOID OpenEvent(VOID) {
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\BaseNamedObjects\\ProcLook");
    OBJECT_ATTRIBUTES attributes;
    PVOID event;

    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    State->Event = IoCreateNotificationEvent(&name, &State->EventHandle);
    if (State->Event == NULL && NT_SUCCESS(ZwOpenEvent(&State->EventHandle, EVENT_ALL_ACCESS, &attributes)) &&
        NT_SUCCESS(ObReferenceObjectByHandle(State->EventHandle, EVENT_MODIFY_STATE, NULL, KernelMode, &event, NULL))) {
        State->Event = event;
        State->EventReferenced = TRUE;
    }
    if (State->Event) {
        KeClearEvent(State->Event); /* it is created signalled */
    }
}

static WINVM_PAGED VOID Release(VOID) {
    PAGED_CODE();
    if (State->EventReferenced) {
        ObDereferenceObject(State->Event);
    }
    if (State->EventHandle) {
        ZwClose(State->EventHandle);
    }
    if (State->Ring) {
        ExFreePoolWithTag(State->Ring, WINVM_POOL_TAG);
    }
}

static WINVM_INIT NTSTATUS Start(_Inout_ WINVM_DEVICE *Device) {
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    State = WINVM_STATE(PROCLOOK_STATE, Device);
    WinvmQueueInitialize(&State->Waiting);
    State->Ring =
        ExAllocatePoolWithTag(NonPagedPoolNx, WINVM_PROCESS_QUEUE_LIMIT * sizeof(WINVM_PROCESS_EVENT), WINVM_POOL_TAG);
    OpenEvent();
    if (State->Ring && State->Event) {
        status = PsSetCreateProcessNotifyRoutine(ProcessChanged, FALSE);
    }
    if (!NT_SUCCESS(status)) {
        Release();
    }
    return status;
}

static WINVM_PAGED VOID Stop(_Inout_ WINVM_DEVICE *Device) {
    UNREFERENCED_PARAMETER(Device);
    PAGED_CODE();
    PsSetCreateProcessNotifyRoutine(ProcessChanged, TRUE); /* returns only when no notification is running */
    WinvmQueueCancelAll(&State->Waiting, NULL);
    Release();
}

static const WINVM_CONTROL Controls[] = {
    WINVM_CONTROL_ROW(WINVM_IOCTL_PROCLOOK_NEWEST, FILE_ANY_ACCESS, Newest),
    WINVM_CONTROL_ROW(WINVM_IOCTL_PROCLOOK_NEXT, FILE_READ_ACCESS, Next),
};

const WINVM_CLASS WinvmProcLookClass = {
    .Name = "ProcLook",
    .DeviceName = WINVM_DEVICE_NAME_PROCLOOK,
    .LinkName = WINVM_LINK_NAME_PROCLOOK,
    .IoFlags = DO_BUFFERED_IO,
    .StateSize = sizeof(PROCLOOK_STATE),
    .FileStateSize = sizeof(PROCLOOK_FILE),
    .Start = Start,
    .Stop = Stop,
    .Open = Open,
    .Cleanup = Cleanup,
    .Controls = Controls,
    .ControlCount = ARRAYSIZE(Controls),
};
