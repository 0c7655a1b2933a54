/*
 * guard_spin.c - the routines that acquire and release locks, as the driver's calls reach them. On x64 a release gets
 * the IRQL to return to from its caller, who got it from the acquire.
 */
#include "guard.h"

static UCHAR Cancel; /* stands for the system's cancel spin lock */

static VOID AtLeastDispatch(ULONG_PTR Caller, ULONG Kind, PVOID Lock) {
    KIRQL irql;

    if (GuardIrql(&irql) && irql < DISPATCH_LEVEL) {
        GuardViolation(Caller,
                       Kind == 0x40 ? "KeAcquireSpinLockAtDpcLevel below DISPATCH_LEVEL"
                                    : "KeReleaseSpinLockFromDpcLevel below DISPATCH_LEVEL",
                       VERIFIER_VIOLATION, Kind, irql, (ULONG_PTR)Lock, 0);
    }
}

KIRQL NTAPI GuardKeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK Lock) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "KeAcquireSpinLock", 0x42, (ULONG_PTR)Lock, 0);
    GuardAcquiring(CALLER, Lock, GuardSpinLock, FALSE);
    KIRQL real = REAL(KeAcquireSpinLockRaiseToDpc)(Lock);
    KIRQL before = GuardAcquired(CALLER, Lock, GuardSpinLock, FALSE, DISPATCH_LEVEL);
    GuardNotPaged(CALLER);
    return GuardThread(FALSE) ? before : real;
}

VOID NTAPI GuardKeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK Lock) {
    AtLeastDispatch(CALLER, 0x40, Lock);
    GuardAcquiring(CALLER, Lock, GuardSpinLock, FALSE);
    REAL(KeAcquireSpinLockAtDpcLevel)(Lock);
    GuardAcquired(CALLER, Lock, GuardSpinLock, FALSE, PASSIVE_LEVEL);
}

VOID NTAPI GuardKeReleaseSpinLock(PKSPIN_LOCK Lock, KIRQL Irql) {
    GuardReleased(CALLER, Lock, GuardSpinLock, Irql);
    REAL(KeReleaseSpinLock)(Lock, Irql);
    GuardSetIrql(Irql);
}

VOID NTAPI GuardKeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK Lock) {
    GUARD_THREAD *thread = GuardThread(FALSE);
    KIRQL irql = thread ? thread->Irql : DISPATCH_LEVEL;

    AtLeastDispatch(CALLER, 0x41, Lock);
    GuardReleased(CALLER, Lock, GuardSpinLock, irql);
    REAL(KeReleaseSpinLockFromDpcLevel)(Lock);
    GuardIdle(thread);
}

VOID NTAPI GuardKeAcquireInStackQueuedSpinLock(PKSPIN_LOCK Lock, PKLOCK_QUEUE_HANDLE Queue) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "KeAcquireInStackQueuedSpinLock", 0x42, (ULONG_PTR)Lock, 0);
    GuardAcquiring(CALLER, Lock, GuardQueuedSpinLock, FALSE);
    REAL(KeAcquireInStackQueuedSpinLock)(Lock, Queue);
    KIRQL before = GuardAcquired(CALLER, Lock, GuardQueuedSpinLock, FALSE, DISPATCH_LEVEL);
    GuardNotPaged(CALLER);
    if (GuardThread(FALSE)) {
        Queue->OldIrql = before;
    }
}

/* The handle does not name the lock where every kernel can be asked: it is the last one acquired this way. */
static PVOID LastQueued(VOID) {
    const GUARD_THREAD *thread = GuardThread(FALSE);

    for (ULONG i = thread ? thread->HeldCount : 0; i-- > 0;) {
        if (thread->Held[i].Kind == GuardQueuedSpinLock) {
            return thread->Held[i].Lock;
        }
    }
    return NULL;
}

VOID NTAPI GuardKeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE Queue) {
    KIRQL irql = Queue->OldIrql;

    GuardReleased(CALLER, LastQueued(), GuardQueuedSpinLock, irql);
    REAL(KeReleaseInStackQueuedSpinLock)(Queue);
    GuardSetIrql(irql);
}

VOID NTAPI GuardKeAcquireInStackQueuedSpinLockAtDpcLevel(PKSPIN_LOCK Lock, PKLOCK_QUEUE_HANDLE Queue) {
    AtLeastDispatch(CALLER, 0x40, Lock);
    GuardAcquiring(CALLER, Lock, GuardQueuedSpinLock, FALSE);
    REAL(KeAcquireInStackQueuedSpinLockAtDpcLevel)(Lock, Queue);
    GuardAcquired(CALLER, Lock, GuardQueuedSpinLock, FALSE, PASSIVE_LEVEL);
}

VOID NTAPI GuardKeReleaseInStackQueuedSpinLockFromDpcLevel(PKLOCK_QUEUE_HANDLE Queue) {
    PVOID lock = LastQueued();

    AtLeastDispatch(CALLER, 0x41, lock);
    GuardReleased(CALLER, lock, GuardQueuedSpinLock, DISPATCH_LEVEL);
    REAL(KeReleaseInStackQueuedSpinLockFromDpcLevel)(Queue);
    GuardIdle(GuardThread(FALSE));
}

VOID NTAPI GuardIoAcquireCancelSpinLock(PKIRQL Irql) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "IoAcquireCancelSpinLock", 0x42, (ULONG_PTR)&Cancel, 0);
    GuardAcquiring(CALLER, &Cancel, GuardCancelLock, FALSE);
    REAL(IoAcquireCancelSpinLock)(Irql);
    KIRQL before = GuardAcquired(CALLER, &Cancel, GuardCancelLock, FALSE, DISPATCH_LEVEL);
    if (GuardThread(FALSE)) {
        *Irql = before;
    }
}

/* The I/O manager acquires it before it calls a cancel routine, so that a release of what was not seen acquired is
   right there; and only there is it common. */
VOID NTAPI GuardIoReleaseCancelSpinLock(KIRQL Irql) {
    const GUARD_THREAD *thread = GuardThread(FALSE);

    if (thread) {
        for (ULONG i = 0; i < thread->HeldCount; i++) {
            if (thread->Held[i].Kind == GuardCancelLock) {
                GuardReleased(CALLER, &Cancel, GuardCancelLock, Irql);
                break;
            }
        }
    }
    REAL(IoReleaseCancelSpinLock)(Irql);
    GuardSetIrql(Irql);
}

GUARD_IMPORT(IoAcquireCancelSpinLock);
GUARD_IMPORT(IoReleaseCancelSpinLock);
GUARD_IMPORT(KeAcquireInStackQueuedSpinLock);
GUARD_IMPORT(KeAcquireInStackQueuedSpinLockAtDpcLevel);
GUARD_IMPORT(KeAcquireSpinLockAtDpcLevel);
GUARD_IMPORT(KeAcquireSpinLockRaiseToDpc);
GUARD_IMPORT(KeReleaseInStackQueuedSpinLock);
GUARD_IMPORT(KeReleaseInStackQueuedSpinLockFromDpcLevel);
GUARD_IMPORT(KeReleaseSpinLock);
GUARD_IMPORT(KeReleaseSpinLockFromDpcLevel);
