/* level_sins.c - sins with IRQL, locks and MDLs, and what the unload routine leaves behind. */
#include "sins.h"

static VOID WaitAtDispatch(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    LARGE_INTEGER timeout = {.QuadPart = Sin->Clean ? 0 : -10000};
    KEVENT event;
    KIRQL irql;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeAcquireSpinLock(&own->First, &irql);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
    KeReleaseSpinLock(&own->First, irql);
}

static VOID ZwAtDispatch(SIN *Sin) {
    KIRQL irql = PASSIVE_LEVEL;
    HANDLE key;
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Registry\\Machine\\Software");
    OBJECT_ATTRIBUTES attributes;
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!Sin->Clean) {
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
    }
    if (NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
        ZwClose(key);
    }
    if (!Sin->Clean) {
        KeLowerIrql(irql);
    }
}

static VOID SelfDeadlock(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    KIRQL irql, inner;
    KeAcquireSpinLock(&own->First, &irql);
    if (!Sin->Clean) {
        KeAcquireSpinLock(&own->First, &inner);
    }
    KeReleaseSpinLock(&own->First, irql);
}

static VOID ReleasedUnheld(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    KIRQL irql = PASSIVE_LEVEL;
    if (Sin->Clean) {
        KeAcquireSpinLock(&own->First, &irql);
    }
    KeReleaseSpinLock(&own->First, irql);
}

static VOID OrderInversion(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    PKSPIN_LOCK outer = Sin->Clean ? &own->First : &own->Second;
    PKSPIN_LOCK inner = Sin->Clean ? &own->Second : &own->First;
    KIRQL irql;
    KeAcquireSpinLock(&own->First, &irql);
    KeAcquireSpinLockAtDpcLevel(&own->Second);
    KeReleaseSpinLockFromDpcLevel(&own->Second);
    KeReleaseSpinLock(&own->First, irql);
    KeAcquireSpinLock(outer, &irql);
    KeAcquireSpinLockAtDpcLevel(inner);
    KeReleaseSpinLockFromDpcLevel(inner);
    KeReleaseSpinLock(outer, irql);
}

static VOID MutexTwice(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    ExAcquireFastMutex(&own->Mutex);
    if (!Sin->Clean) {
        ExAcquireFastMutex(&own->Mutex);
    }
    ExReleaseFastMutex(&own->Mutex);
}

static VOID MutexAtDispatch(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    KIRQL irql;
    KeRaiseIrql(Sin->Clean ? APC_LEVEL : DISPATCH_LEVEL, &irql);
    ExAcquireFastMutex(&own->Mutex);
    ExReleaseFastMutex(&own->Mutex);
    KeLowerIrql(irql);
}

static VOID ResourceWithApcs(SIN *Sin) {
    ERESOURCE *resource = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*resource), TAG);
    ExInitializeResourceLite(resource);
    if (Sin->Clean) {
        KeEnterCriticalRegion();
    }
    ExAcquireResourceExclusiveLite(resource, TRUE);
    ExReleaseResourceLite(resource);
    if (Sin->Clean) {
        KeLeaveCriticalRegion();
    }
    ExDeleteResourceLite(resource);
    ExFreePool(resource);
}

static VOID DpcLevelAtPassive(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    KIRQL irql = PASSIVE_LEVEL;
    if (Sin->Clean) {
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
    }
    KeAcquireSpinLockAtDpcLevel(&own->First);
    KeReleaseSpinLockFromDpcLevel(&own->First);
    if (Sin->Clean) {
        KeLowerIrql(irql);
    }
}

__attribute__((section("PAGE"), noinline)) static VOID PagedRoutine(PKSPIN_LOCK Lock, BOOLEAN Takes) {
    KIRQL irql;
    if (Takes) {
        KeAcquireSpinLock(Lock, &irql);
        KeReleaseSpinLock(Lock, irql);
    }
}

static VOID PagedCodeRaises(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    PagedRoutine(&own->First, !Sin->Clean);
}

static VOID UnlockedTwice(SIN *Sin) {
    PVOID block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG);
    PMDL mdl = IoAllocateMdl(block, 64, FALSE, FALSE, NULL);
    MmProbeAndLockPages(mdl, KernelMode, IoWriteAccess);
    MmUnlockPages(mdl);
    if (!Sin->Clean) {
        MmUnlockPages(mdl);
    }
    IoFreeMdl(mdl);
    ExFreePool(block);
}

static VOID FreedLocked(SIN *Sin) {
    PVOID block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG);
    PMDL mdl = IoAllocateMdl(block, 64, FALSE, FALSE, NULL);
    MmProbeAndLockPages(mdl, KernelMode, IoWriteAccess);
    if (Sin->Clean) {
        MmUnlockPages(mdl);
    }
    IoFreeMdl(mdl);
    ExFreePool(block);
}

static VOID RegionNotEntered(SIN *Sin) {
    if (Sin->Clean) {
        KeEnterCriticalRegion();
    }
    KeLeaveCriticalRegion();
}

SIN_ROUTINE *const LevelSins[] = {WaitAtDispatch, ZwAtDispatch,    SelfDeadlock,     ReleasedUnheld,    OrderInversion,
                                  MutexTwice,     MutexAtDispatch, ResourceWithApcs, DpcLevelAtPassive, PagedCodeRaises,
                                  UnlockedTwice,  FreedLocked,     RegionNotEntered};
const ULONG LevelSinCount = ARRAYSIZE(LevelSins);

static VOID NTAPI Endless(PVOID Context) {
    LARGE_INTEGER second = {.QuadPart = -10000000};
    (void)Context;
    for (ULONG i = 0; i < 5; i++) {
        KeDelayExecutionThread(KernelMode, FALSE, &second);
    }
}

static VOID NTAPI Nothing(PVOID Context) {
    (void)Context;
}

VOID LeaveBehind(PDRIVER_OBJECT DriverObject) {
    static UNICODE_STRING left = RTL_CONSTANT_STRING(L"\\DosDevices\\SinsLeft");
    static UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Sins");
    static KTIMER timer;
    SINS_DEVICE *own = DriverObject->DeviceObject->DeviceExtension;
    LARGE_INTEGER due = {.QuadPart = -600000000};
    HANDLE thread;

    switch (LeftBehind) {
        case 1:
            own->Kept = ExAllocatePoolWithTag(PagedPool, 100, TAG);
            break;
        case 2:
            KeInitializeTimer(&timer);
            KeSetTimer(&timer, due, NULL);
            break;
        case 3:
            own->Kept = IoAllocateWorkItem(DriverObject->DeviceObject);
            break;
        case 4:
            own->Kept = IoAllocateMdl(own, sizeof(*own), FALSE, FALSE, NULL);
            break;
        case 5:
            IoCreateSymbolicLink(&left, &name);
            break;
        case 6:
            PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Endless, NULL);
            ZwClose(thread);
            break;
        case 7: /* the device goes with an active timer in its extension */
            KeSetTimer(&own->Timer, due, NULL);
            break;
        case 8:
            own->Kept = IoAllocateIrp(1, FALSE);
            break;
        case 9:
            PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Nothing, NULL);
            ObReferenceObjectByHandle(thread, SYNCHRONIZE, NULL, KernelMode, &own->Kept, NULL);
            KeWaitForSingleObject(own->Kept, Executive, KernelMode, FALSE, NULL);
            ZwClose(thread);
            break;
        case 10:
            IoAcquireRemoveLock(&own->Removal, own);
            break;
        case 11:
            IoCreateUnprotectedSymbolicLink(&left, &name);
            break;
        default:
            IoAcquireRemoveLock(&own->Removal, own);
            IoReleaseRemoveLock(&own->Removal, own);
            break;
    }
}
