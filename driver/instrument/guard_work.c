/*
 * guard_work.c - the driver's work items and system threads: called through the guard, which so knows their IRQL, and
 * ended before the driver is unloaded.
 */
#include "guard.h"

#define ITEMS 256u
#define RUNNING 128u
#define THREAD_END_MS 200

typedef struct ITEM {
    PIO_WORKITEM Item;
    PIO_WORKITEM_ROUTINE Routine;
    PVOID Context;
    volatile LONG Queued;
    GUARD_SITE Site;
} ITEM;

typedef struct STARTED {
    PKSTART_ROUTINE Routine;
    PVOID Context;
    volatile LONG State; /* 0 unused, 1 started */
    ULONG_PTR Id;
} STARTED;

static ITEM Items[ITEMS];
static STARTED Started[RUNNING];

VOID GuardWorkBegin(VOID) {
    RtlZeroMemory(Items, sizeof(Items));
    RtlZeroMemory(Started, sizeof(Started));
}

static ITEM *FindItem(PIO_WORKITEM Item) {
    for (ULONG i = 0; i < ITEMS; i++) {
        if (Items[i].Item == Item) {
            return &Items[i];
        }
    }
    return NULL;
}

PIO_WORKITEM NTAPI GuardIoAllocateWorkItem(PDEVICE_OBJECT DeviceObject) {
    GUARD_SITE site;

    if (GuardOn && GuardFails(CALLER)) {
        return NULL;
    }
    PIO_WORKITEM item = REAL(IoAllocateWorkItem)(DeviceObject);
    GuardGiven(item);
    GuardSite(CALLER, &site);
    GuardLock();
    ITEM *known = GuardOn && item ? FindItem(NULL) : NULL;
    if (known) {
        *known = (ITEM){item, NULL, NULL, 0, site};
    }
    GuardUnlock();
    return item;
}

static VOID NTAPI RunItem(PDEVICE_OBJECT DeviceObject, PVOID Context) {
    ITEM *item = Context;
    PIO_WORKITEM_ROUTINE routine = item->Routine;
    PVOID own = item->Context;
    GUARD_CALL call = GuardEnter(PASSIVE_LEVEL);

    InterlockedExchange(&item->Queued, 0); /* the routine may free it, or queue it again */
    routine(DeviceObject, own);
    if (GuardOn && call.Thread && call.Thread->Irql != PASSIVE_LEVEL) {
        GuardViolation((ULONG_PTR)routine, "worker routine returned at another IRQL", VERIFIER_VIOLATION, 0xE5,
                       call.Thread->Irql, 0, 0);
    }
    GuardLeave(&call);
}

VOID NTAPI GuardIoQueueWorkItem(PIO_WORKITEM Item, PIO_WORKITEM_ROUTINE Routine, WORK_QUEUE_TYPE Queue, PVOID Context) {
    GuardLock();
    ITEM *known = GuardOn ? FindItem(Item) : NULL;
    GuardUnlock();
    if (known == NULL) {
        REAL(IoQueueWorkItem)(Item, Routine, Queue, Context);
        return;
    }
    if (InterlockedExchange(&known->Queued, 1) != 0) {
        GuardViolation(CALLER, "work item queued that is in the queue", WORKER_MISUSE, 1, (ULONG_PTR)Item, Queue, 0);
    }
    known->Routine = Routine;
    known->Context = Context;
    REAL(IoQueueWorkItem)(Item, RunItem, Queue, known);
}

VOID NTAPI GuardIoFreeWorkItem(PIO_WORKITEM Item) {
    GuardLock();
    ITEM *known = GuardOn ? FindItem(Item) : NULL;
    LONG queued = known ? known->Queued : 0;
    if (known && !queued) {
        known->Item = NULL;
    }
    GuardUnlock();
    if (queued) {
        GuardViolation(CALLER, "work item freed that is in the queue", WORKER_MISUSE, 2, (ULONG_PTR)Item,
                       (ULONG_PTR)known->Routine, 0);
    }
    if (GuardOn) {
        GuardFreed(CALLER, Item, "work item freed twice");
    }
    REAL(IoFreeWorkItem)(Item);
}

/* System threads. */

#define CURRENT_THREAD ((ULONG_PTR)__readgsqword(0x48)) /* ClientId.UniqueThread of the TEB */

static VOID CheckEnd(ULONG_PTR Caller, const GUARD_THREAD *Thread) {
    if (GuardOn && Thread && Thread->HeldCount) {
        GuardViolation(Caller, "system thread ends that owns a lock", VERIFIER_VIOLATION, 0x100A, CURRENT_THREAD, 0, 0);
    }
}

static VOID NTAPI RunThread(PVOID Context) {
    STARTED *started = Context;
    GUARD_CALL call = GuardEnter(PASSIVE_LEVEL);

    started->Id = CURRENT_THREAD;
    started->Routine(started->Context);
    CheckEnd((ULONG_PTR)started->Routine, call.Thread);
    GuardLeave(&call);
    InterlockedExchange(&started->State, 0);
}

/* Does not return, so that the routine does not return to RunThread. */
NTSTATUS NTAPI GuardPsTerminateSystemThread(NTSTATUS Status) {
    GUARD_THREAD *thread = GuardThread(FALSE);

    if (thread) {
        CheckEnd(CALLER, thread);
        thread->Depth = thread->Critical = 0;
        thread->HeldCount = 0;
        thread->Irql = PASSIVE_LEVEL;
        GuardIdle(thread);
    }
    for (ULONG i = 0; i < RUNNING; i++) {
        if (Started[i].State && Started[i].Id == CURRENT_THREAD) {
            InterlockedExchange(&Started[i].State, 0);
        }
    }
    return REAL(PsTerminateSystemThread)(Status);
}

NTSTATUS NTAPI GuardPsCreateSystemThread(PHANDLE Thread, ULONG Access, POBJECT_ATTRIBUTES Attributes, HANDLE Process,
                                         PCLIENT_ID Client, PKSTART_ROUTINE Routine, PVOID Context) {
    STARTED *started = NULL;

    GuardAtMost(CALLER, PASSIVE_LEVEL, "PsCreateSystemThread", 0xE5, 0, 0);
    for (ULONG i = 0; GuardOn && started == NULL && i < RUNNING; i++) {
        if (InterlockedCompareExchange(&Started[i].State, 1, 0) == 0) {
            started = &Started[i];
            started->Routine = Routine;
            started->Context = Context;
        }
    }
    if (started == NULL) {
        return REAL(PsCreateSystemThread)(Thread, Access, Attributes, Process, Client, Routine, Context);
    }
    NTSTATUS status = REAL(PsCreateSystemThread)(Thread, Access, Attributes, Process, Client, RunThread, started);
    if (!NT_SUCCESS(status)) {
        InterlockedExchange(&started->State, 0);
    }
    return status;
}

static VOID ThreadsLeft(VOID) {
    for (ULONG waited = 0; waited <= THREAD_END_MS; waited += 10) {
        ULONG running = 0;
        for (ULONG i = 0; i < RUNNING; i++) {
            running += Started[i].State != 0;
        }
        if (running == 0) {
            return;
        }
        LARGE_INTEGER interval = {.QuadPart = -100000};
        REAL(KeDelayExecutionThread)(KernelMode, FALSE, &interval);
    }
    for (ULONG i = 0; i < RUNNING; i++) {
        if (Started[i].State != 0) {
            ULONG_PTR routine = (ULONG_PTR)Started[i].Routine;
            GuardViolation(routine, "system thread runs in the driver after it is unloaded", UNLOADED_WITH_PENDING,
                           routine, 8, routine, 0);
        }
    }
}

/* Work items left; before that, waits for system threads that are about to end. */
ULONG GuardWorkLeft(VOID) {
    ULONG count = 0;

    ThreadsLeft();
    for (ULONG i = 0; i < ITEMS; i++) {
        if (Items[i].Item) {
            count++;
            GuardPrintLeft("work item", (ULONG_PTR)Items[i].Item, 0, 0, &Items[i].Site);
        }
    }
    return count;
}

GUARD_IMPORT(IoAllocateWorkItem);
GUARD_IMPORT(IoFreeWorkItem);
GUARD_IMPORT(IoQueueWorkItem);
GUARD_IMPORT(PsCreateSystemThread);
GUARD_IMPORT(PsTerminateSystemThread);
