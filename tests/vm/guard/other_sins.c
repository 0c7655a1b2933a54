/* other_sins.c - the same violations by other routines, and from DPCs, work items and system threads. */
#include "sins.h"

typedef struct ELSEWHERE {
    SIN *Sin;
    KEVENT Done;
    KTIMER Timer;
    KDPC Dpc;
    VOID (*Body)(SIN *Sin);
} ELSEWHERE;

static PVOID Take(POOL_TYPE Type, SIZE_T Size) {
    PVOID block = ExAllocatePoolWithTag(Type, Size, TAG);
    if (block == NULL) {
        ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES);
    }
    return block;
}

static VOID NTAPI InDpc(PKDPC Dpc, PVOID Context, PVOID First, PVOID Second) {
    ELSEWHERE *elsewhere = Context;
    (void)Dpc, (void)First, (void)Second;
    elsewhere->Body(elsewhere->Sin);
    KeSetEvent(&elsewhere->Done, IO_NO_INCREMENT, FALSE);
}

static VOID NTAPI InThread(PVOID Context) {
    ELSEWHERE *elsewhere = Context;
    elsewhere->Body(elsewhere->Sin);
    KeSetEvent(&elsewhere->Done, IO_NO_INCREMENT, FALSE);
}

static VOID Prepare(ELSEWHERE *Elsewhere, SIN *Sin, VOID (*Body)(SIN *Sin)) {
    Elsewhere->Sin = Sin;
    Elsewhere->Body = Body;
    KeInitializeEvent(&Elsewhere->Done, NotificationEvent, FALSE);
}

static VOID ByDpc(SIN *Sin, VOID (*Body)(SIN *Sin)) {
    LARGE_INTEGER due = {.QuadPart = -100000};
    ELSEWHERE *elsewhere = Take(NonPagedPoolNx, sizeof(*elsewhere));
    Prepare(elsewhere, Sin, Body);
    KeInitializeTimer(&elsewhere->Timer);
    KeInitializeDpc(&elsewhere->Dpc, InDpc, elsewhere);
    KeSetTimer(&elsewhere->Timer, due, &elsewhere->Dpc);
    KeWaitForSingleObject(&elsewhere->Done, Executive, KernelMode, FALSE, NULL);
    KeFlushQueuedDpcs();
    ExFreePoolWithTag(elsewhere, TAG);
}

static VOID ByThread(SIN *Sin, VOID (*Body)(SIN *Sin)) {
    ELSEWHERE elsewhere;
    HANDLE handle;
    PVOID thread;
    Prepare(&elsewhere, Sin, Body);
    if (!NT_SUCCESS(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, InThread, &elsewhere))) {
        return;
    }
    if (NT_SUCCESS(ObReferenceObjectByHandle(handle, SYNCHRONIZE, NULL, KernelMode, &thread, NULL))) {
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(thread);
    }
    ZwClose(handle);
}

static VOID NTAPI InWorkItem(PDEVICE_OBJECT DeviceObject, PVOID Context) {
    (void)DeviceObject;
    InThread(Context);
}

static VOID ByWorkItem(SIN *Sin, VOID (*Body)(SIN *Sin)) {
    ELSEWHERE elsewhere;
    PIO_WORKITEM item = IoAllocateWorkItem(Sin->Device);
    Prepare(&elsewhere, Sin, Body);
    IoQueueWorkItem(item, InWorkItem, DelayedWorkQueue, &elsewhere);
    KeWaitForSingleObject(&elsewhere.Done, Executive, KernelMode, FALSE, NULL);
    IoFreeWorkItem(item);
}

static VOID ResourceInPool(SIN *Sin) {
    ERESOURCE *resource = Take(NonPagedPoolNx, sizeof(*resource));
    ExInitializeResourceLite(resource);
    if (Sin->Clean) {
        ExDeleteResourceLite(resource);
    }
    ExFreePoolWithTag(resource, TAG);
}

static VOID MdlFreedTwice(SIN *Sin) {
    UCHAR local[16];
    PMDL mdl = IoAllocateMdl(local, sizeof(local), FALSE, FALSE, NULL);
    IoFreeMdl(mdl);
    if (Sin->Clean) {
        mdl = IoAllocateMdl(local, sizeof(local), FALSE, FALSE, NULL);
    }
    IoFreeMdl(mdl);
}

static VOID WorkItemFreedTwice(SIN *Sin) {
    PIO_WORKITEM item = IoAllocateWorkItem(Sin->Device);
    IoFreeWorkItem(item);
    if (Sin->Clean) {
        item = IoAllocateWorkItem(Sin->Device);
    }
    IoFreeWorkItem(item);
}

__attribute__((section("PAGE"), noinline)) static PVOID PagedTake(VOID) {
    return ExAllocatePoolWithTag(NonPagedPoolNx, 32, TAG);
}

static VOID PagedCodeAtDispatch(SIN *Sin) {
    KIRQL irql = PASSIVE_LEVEL;
    if (!Sin->Clean) {
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
    }
    PVOID block = PagedTake();
    if (!Sin->Clean) {
        KeLowerIrql(irql);
    }
    ExFreePoolWithTag(block, TAG);
}

static VOID LocksMutex(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    ExAcquireFastMutex(&own->Mutex);
    if (Sin->Clean) {
        ExReleaseFastMutex(&own->Mutex);
    }
}

static VOID ThreadKeepsLock(SIN *Sin) {
    ByThread(Sin, LocksMutex);
}

static VOID Raises(SIN *Sin) {
    KIRQL irql;
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    if (Sin->Clean) {
        KeLowerIrql(irql);
    }
}

static VOID WorkerRaises(SIN *Sin) {
    ByWorkItem(Sin, Raises);
}

static VOID Waits(SIN *Sin) {
    LARGE_INTEGER timeout = {.QuadPart = Sin->Clean ? 0 : -10000};
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
}

static VOID DpcWaits(SIN *Sin) {
    ByDpc(Sin, Waits);
}

static VOID TakesPaged(SIN *Sin) {
    ExFreePoolWithTag(Take(Sin->Clean ? NonPagedPoolNx : PagedPool, 48), TAG);
}

static VOID DpcTakesPaged(SIN *Sin) {
    ByDpc(Sin, TakesPaged);
}

static VOID WritesBeyond(SIN *Sin) {
    volatile UCHAR *block = Take(NonPagedPoolNx, 32);
    block[Sin->Clean ? 31 : 32] = 1;
    ExFreePoolWithTag((PVOID)block, TAG);
}

static VOID DpcWritesBeyond(SIN *Sin) {
    ByDpc(Sin, WritesBeyond);
}

static VOID ReadsFreed(SIN *Sin) {
    volatile UCHAR *block = Take(PagedPool, 32);
    if (Sin->Clean) {
        Sin->Information = block[3] & 0;
    }
    ExFreePoolWithTag((PVOID)block, TAG);
    if (!Sin->Clean) {
        Sin->Information = block[3] & 0;
    }
}

static VOID ThreadReadsFreed(SIN *Sin) {
    ByThread(Sin, ReadsFreed);
}

static VOID FreesTwice(SIN *Sin) {
    PVOID block = Take(NonPagedPoolNx, 32);
    ExFreePool(block);
    if (!Sin->Clean) {
        ExFreePool(block);
    }
}

static VOID WorkerFreesTwice(SIN *Sin) {
    ByWorkItem(Sin, FreesTwice);
}

static VOID NothingByPriority(SIN *Sin) {
    volatile SIZE_T size = Sin->Clean ? 16 : 0;
    ExFreePoolWithTag(ExAllocatePoolWithTagPriority(NonPagedPoolNx, size, TAG, NormalPoolPriority), TAG);
}

static VOID StarvesWithApcs(SIN *Sin) {
    ERESOURCE *resource = Take(NonPagedPoolNx, sizeof(*resource));
    ExInitializeResourceLite(resource);
    if (Sin->Clean) {
        KeEnterCriticalRegion();
    }
    ExAcquireSharedStarveExclusive(resource, TRUE);
    ExReleaseResourceLite(resource);
    if (Sin->Clean) {
        KeLeaveCriticalRegion();
    }
    ExDeleteResourceLite(resource);
    ExFreePoolWithTag(resource, TAG);
}

static VOID CopiesBeyond(SIN *Sin) {
    static const UCHAR text[96] = {1};
    volatile SIZE_T size = Sin->Clean ? 64 : 96;
    PVOID block = Take(NonPagedPoolNx, 64);
    RtlCopyMemory(block, text, size);
    ExFreePoolWithTag(block, TAG);
}

static VOID LocksInversely(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    ERESOURCE *resource = Take(NonPagedPoolNx, sizeof(*resource));
    ExInitializeResourceLite(resource);
    ExAcquireFastMutex(&own->Mutex);
    ExAcquireResourceExclusiveLite(resource, TRUE);
    ExReleaseResourceLite(resource);
    ExReleaseFastMutex(&own->Mutex);
    KeEnterCriticalRegion();
    if (!Sin->Clean) {
        ExAcquireResourceSharedLite(resource, TRUE);
    }
    ExAcquireFastMutex(&own->Mutex);
    ExReleaseFastMutex(&own->Mutex);
    if (!Sin->Clean) {
        ExReleaseResourceLite(resource);
    }
    KeLeaveCriticalRegion();
    ExDeleteResourceLite(resource);
    ExFreePoolWithTag(resource, TAG);
}

static VOID CompletesHigh(SIN *Sin) {
    KIRQL irql;
    KeRaiseIrql(Sin->Clean ? DISPATCH_LEVEL : HIGH_LEVEL, &irql);
    Complete(Sin->Irp, STATUS_SUCCESS, 0);
    Sin->Done = TRUE;
    KeLowerIrql(irql);
}

static VOID ClosesAtDispatch(SIN *Sin) {
    (void)Sin;
    HANDLE key;
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Registry\\Machine\\Software");
    OBJECT_ATTRIBUTES attributes;
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE, NULL, NULL);
    if (NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
        ZwClose(key);
    }
}

static VOID DpcOpensKey(SIN *Sin) {
    if (Sin->Clean) {
        ByWorkItem(Sin, ClosesAtDispatch);
    } else {
        ByDpc(Sin, ClosesAtDispatch);
    }
}

SIN_ROUTINE *const OtherSins[] = {ResourceInPool,   MdlFreedTwice,     WorkItemFreedTwice, PagedCodeAtDispatch,
                                  ThreadKeepsLock,  WorkerRaises,      DpcWaits,           DpcTakesPaged,
                                  DpcWritesBeyond,  ThreadReadsFreed,  WorkerFreesTwice,   NothingByPriority,
                                  StarvesWithApcs,  CopiesBeyond,      LocksInversely,     CompletesHigh,
                                  DpcOpensKey};
const ULONG OtherSinCount = ARRAYSIZE(OtherSins);
