/*
 * guard_thread.c - what is known of a thread while it is in the driver: its IRQL, what it holds, and whether the guard
 * saw how the kernel came to call the driver. The state hangs on a slot of thread-local storage of the process.
 */
#include "guard.h"

#define THREADS 256
#define NO_SLOT 0xFFFFFFFFu
#define DIRECT_SLOTS 64
#define TEB_SLOTS \
    0x1480 /* TlsSlots of the TEB: https://learn.microsoft.com/windows/win32/api/winternl/ns-winternl-teb */

typedef ULONG WINAPI_ALLOCATE(VOID);
typedef int WINAPI_FREE(ULONG Slot);

static GUARD_THREAD Threads[THREADS];
static ULONG Slot = NO_SLOT;
static volatile LONG Busy;

VOID GuardThreadsBegin(VOID) {
    WINAPI_ALLOCATE *allocate = (WINAPI_ALLOCATE *)GuardExport("kernelbase.dll", "TlsAlloc");

    RtlZeroMemory(Threads, sizeof(Threads));
    Slot = allocate ? allocate() : NO_SLOT;
    if (Slot >= DIRECT_SLOTS) {
        Slot = NO_SLOT;
        DbgPrint("winvm-guard: no thread-local storage: IRQL and locks are not watched\n");
    }
}

VOID GuardThreadsEnd(VOID) {
    WINAPI_FREE *release = (WINAPI_FREE *)GuardExport("kernelbase.dll", "TlsFree");

    if (Slot != NO_SLOT && release) {
        release(Slot);
    }
    Slot = NO_SLOT;
}

GUARD_THREAD *GuardThread(BOOLEAN Create) {
    if (Slot == NO_SLOT) {
        return NULL;
    }
    ULONG_PTR offset = TEB_SLOTS + Slot * sizeof(PVOID);
    GUARD_THREAD *thread = (GUARD_THREAD *)__readgsqword((ULONG)offset);
    for (ULONG i = 0; thread == NULL && Create && i < THREADS; i++) {
        if (Threads[i].Used == 0 && InterlockedCompareExchange(&Threads[i].Used, 1, 0) == 0) {
            thread = &Threads[i];
            thread->Depth = 0;
            thread->Irql = PASSIVE_LEVEL;
            thread->Critical = 0;
            thread->Unsure = FALSE;
            thread->HeldCount = 0;
            __writegsqword((ULONG)offset, (ULONG_PTR)thread);
        }
    }
    return thread;
}

VOID GuardIdle(GUARD_THREAD *Thread) {
    if (Thread && Thread->Depth == 0 && Thread->Irql == PASSIVE_LEVEL && Thread->HeldCount == 0 &&
        Thread->Critical == 0) {
        __writegsqword((ULONG)(TEB_SLOTS + Slot * sizeof(PVOID)), 0);
        InterlockedExchange(&Thread->Used, 0);
    }
}

static GUARD_CALL Enter(LONG Depth, KIRQL Irql) {
    GUARD_THREAD *thread = GuardThread(TRUE);
    GUARD_CALL call = {thread, 0, PASSIVE_LEVEL};

    if (thread) {
        call.Depth = thread->Depth;
        call.Irql = thread->Irql;
        thread->Depth = Depth;
        thread->Irql = Irql;
    }
    return call;
}

GUARD_CALL GuardEnter(KIRQL Irql) {
    return Enter(1, Irql);
}

GUARD_CALL GuardEnterAsIs(VOID) {
    GUARD_THREAD *thread = GuardThread(TRUE);
    return Enter(1, thread ? thread->Irql : PASSIVE_LEVEL);
}

GUARD_CALL GuardEnterUnknown(VOID) {
    GUARD_THREAD *thread = GuardThread(TRUE);
    return Enter(0, thread ? thread->Irql : PASSIVE_LEVEL);
}

VOID GuardLeave(const GUARD_CALL *Call) {
    if (Call->Thread) {
        Call->Thread->Depth = Call->Depth;
        Call->Thread->Irql = Call->Irql;
        GuardIdle(Call->Thread);
    }
}

BOOLEAN GuardIrql(KIRQL *Irql) {
    GUARD_THREAD *thread = GuardOn ? GuardThread(FALSE) : NULL;

    if (thread == NULL || thread->Depth == 0) {
        return FALSE;
    }
    *Irql = thread->Irql;
    return TRUE;
}

/* Guards the guard's own tables, for a few instructions; nothing of the kernel is called with it. */
VOID GuardLock(VOID) {
    for (ULONG i = 1; InterlockedExchange(&Busy, 1) != 0; i++) {
        if (i % 64 == 0) {
            ZwYieldExecution(); /* who holds it may have been preempted: these are threads of a process */
        }
    }
}

VOID GuardUnlock(VOID) {
    InterlockedExchange(&Busy, 0);
}
