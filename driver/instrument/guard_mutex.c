/*
 * guard_mutex.c - fast mutexes, resources and critical regions, as the driver's calls reach them.
 */
#include "guard.h"

static VOID Above(ULONG_PTR Caller, PVOID Mutex) {
    KIRQL irql;

    if (GuardIrql(&irql) && irql > APC_LEVEL) {
        GuardViolation(Caller, "fast mutex acquired above APC_LEVEL", VERIFIER_VIOLATION, 0x33, irql, (ULONG_PTR)Mutex,
                       0);
    }
}

VOID FASTCALL GuardExAcquireFastMutex(PFAST_MUTEX Mutex) {
    Above(CALLER, Mutex);
    GuardAcquiring(CALLER, Mutex, GuardFastMutex, FALSE);
    REAL(ExAcquireFastMutex)(Mutex);
    KIRQL before = GuardAcquired(CALLER, Mutex, GuardFastMutex, FALSE, APC_LEVEL);
    if (GuardThread(FALSE)) {
        Mutex->OldIrql = before;
    }
}

VOID FASTCALL GuardExReleaseFastMutex(PFAST_MUTEX Mutex) {
    GUARD_THREAD *thread = GuardThread(FALSE);
    KIRQL before = GuardReleased(CALLER, Mutex, GuardFastMutex, thread ? thread->Irql : PASSIVE_LEVEL);

    REAL(ExReleaseFastMutex)(Mutex);
    GuardSetIrql(before);
}

/* The caller has raised the IRQL, or is in a critical region; neither is changed. */
VOID FASTCALL GuardExAcquireFastMutexUnsafe(PFAST_MUTEX Mutex) {
    Above(CALLER, Mutex);
    GuardAcquiring(CALLER, Mutex, GuardFastMutex, FALSE);
    REAL(ExAcquireFastMutexUnsafe)(Mutex);
    GuardAcquired(CALLER, Mutex, GuardFastMutex, FALSE, PASSIVE_LEVEL);
}

VOID FASTCALL GuardExReleaseFastMutexUnsafe(PFAST_MUTEX Mutex) {
    GuardReleased(CALLER, Mutex, GuardFastMutex, PASSIVE_LEVEL);
    REAL(ExReleaseFastMutexUnsafe)(Mutex);
    GuardIdle(GuardThread(FALSE));
}

/* From now on it is not known whether APCs are enabled in this thread. */
VOID GuardRegionUnsure(VOID) {
    GUARD_THREAD *thread = GuardOn ? GuardThread(FALSE) : NULL;

    if (thread) {
        thread->Unsure = TRUE;
    }
}

VOID NTAPI GuardKeEnterGuardedRegion(VOID) {
    GuardRegionUnsure();
    REAL(KeEnterGuardedRegion)();
}

static VOID CheckRegion(ULONG_PTR Caller, ULONG Kind, PERESOURCE Resource) {
    const GUARD_THREAD *thread = GuardOn ? GuardThread(FALSE) : NULL;

    if (thread && thread->Depth > 0 && thread->Critical == 0 && !thread->Unsure && thread->Irql < APC_LEVEL) {
        GuardViolation(Caller,
                       Kind == 0x37 ? "resource acquired with APCs enabled" : "resource released with APCs enabled",
                       VERIFIER_VIOLATION, Kind, thread->Irql, 0, (ULONG_PTR)Resource);
    }
}

typedef BOOLEAN NTAPI ACQUIRE(PERESOURCE Resource, BOOLEAN Wait);

static BOOLEAN Acquire(ULONG_PTR Caller, PERESOURCE Resource, BOOLEAN Wait, BOOLEAN Shared, PCSTR Name, ACQUIRE *Real) {
    GuardAtMost(Caller, APC_LEVEL, Name, 0x37, 0, (ULONG_PTR)Resource);
    CheckRegion(Caller, 0x37, Resource);
    if (Wait) {
        GuardAcquiring(Caller, Resource, GuardResource, Shared);
    }
    BOOLEAN taken = Real(Resource, Wait);
    if (taken) {
        GuardAcquired(Caller, Resource, GuardResource, Shared, PASSIVE_LEVEL);
    }
    return taken;
}

BOOLEAN NTAPI GuardExAcquireResourceExclusiveLite(PERESOURCE Resource, BOOLEAN Wait) {
    return Acquire(CALLER, Resource, Wait, FALSE, "ExAcquireResourceExclusiveLite",
                   REAL(ExAcquireResourceExclusiveLite));
}

BOOLEAN NTAPI GuardExAcquireResourceSharedLite(PERESOURCE Resource, BOOLEAN Wait) {
    return Acquire(CALLER, Resource, Wait, TRUE, "ExAcquireResourceSharedLite", REAL(ExAcquireResourceSharedLite));
}

BOOLEAN NTAPI GuardExAcquireSharedStarveExclusive(PERESOURCE Resource, BOOLEAN Wait) {
    return Acquire(CALLER, Resource, Wait, TRUE, "ExAcquireSharedStarveExclusive",
                   REAL(ExAcquireSharedStarveExclusive));
}

BOOLEAN NTAPI GuardExAcquireSharedWaitForExclusive(PERESOURCE Resource, BOOLEAN Wait) {
    return Acquire(CALLER, Resource, Wait, TRUE, "ExAcquireSharedWaitForExclusive",
                   REAL(ExAcquireSharedWaitForExclusive));
}

/* Another routine may have acquired it, or another thread for this one: what was not seen is not judged. */
VOID FASTCALL GuardExReleaseResourceLite(PERESOURCE Resource) {
    CheckRegion(CALLER, 0x38, Resource);
    GuardReleasedIfHeld(Resource);
    REAL(ExReleaseResourceLite)(Resource);
    GuardIdle(GuardThread(FALSE));
}

VOID NTAPI GuardExReleaseResourceForThreadLite(PERESOURCE Resource, ERESOURCE_THREAD Thread) {
    GuardReleasedIfHeld(Resource);
    REAL(ExReleaseResourceForThreadLite)(Resource, Thread);
    GuardIdle(GuardThread(FALSE));
}

VOID NTAPI GuardKeEnterCriticalRegion(VOID) {
    GUARD_THREAD *thread = GuardOn ? GuardThread(TRUE) : NULL;
    KIRQL irql;

    if (GuardIrql(&irql) && irql > APC_LEVEL) {
        GuardViolation(CALLER, "KeEnterCriticalRegion above APC_LEVEL", VERIFIER_VIOLATION, 0x11A, irql, 0, 0);
    }
    REAL(KeEnterCriticalRegion)();
    if (thread) {
        thread->Critical++;
    }
}

VOID NTAPI GuardKeLeaveCriticalRegion(VOID) {
    GUARD_THREAD *thread = GuardOn ? GuardThread(FALSE) : NULL;

    if (thread && thread->Depth > 0 && thread->Irql > APC_LEVEL) {
        GuardViolation(CALLER, "KeLeaveCriticalRegion above APC_LEVEL", VERIFIER_VIOLATION, 0x11B, thread->Irql, 0, 0);
    }
    if (thread && thread->Depth > 0 && thread->Critical == 0) {
        GuardViolation(CALLER, "KeLeaveCriticalRegion outside a critical region", VERIFIER_VIOLATION, 0x3E, 0, 0, 0);
    }
    REAL(KeLeaveCriticalRegion)();
    if (thread && thread->Critical > 0) {
        thread->Critical--;
        GuardIdle(thread);
    }
}

GUARD_IMPORT(ExAcquireFastMutex);
GUARD_IMPORT(ExAcquireFastMutexUnsafe);
GUARD_IMPORT(ExAcquireResourceExclusiveLite);
GUARD_IMPORT(ExAcquireResourceSharedLite);
GUARD_IMPORT(ExAcquireSharedStarveExclusive);
GUARD_IMPORT(ExAcquireSharedWaitForExclusive);
GUARD_IMPORT(ExReleaseFastMutex);
GUARD_IMPORT(ExReleaseFastMutexUnsafe);
GUARD_IMPORT(ExReleaseResourceForThreadLite);
GUARD_IMPORT(ExReleaseResourceLite);
GUARD_IMPORT(KeEnterCriticalRegion);
GUARD_IMPORT(KeEnterGuardedRegion);
GUARD_IMPORT(KeLeaveCriticalRegion);
