/*
 * guard_locks.c - spin locks, fast mutexes and resources: who holds them, in which order they are taken, and the IRQL
 * that they set. A lock on a thread's stack takes no part in the order: its address means another lock a moment later.
 */
#include "guard.h"

#define EDGES 1024u

/* Taken was acquired while Held was owned. With is the set of what else was owned, as a filter of 64 bits. */
typedef struct EDGE {
    ULONG_PTR Held;
    ULONG_PTR Taken;
    ULONG64 With;
    ULONG_PTR Site;
} EDGE;

static EDGE Edges[EDGES];
static ULONG EdgeCount;

static BOOLEAN OnOwnStack(ULONG_PTR Address) {
    return Address >= __readgsqword(0x10) && Address < __readgsqword(0x8);
}

static ULONG64 Bit(PVOID Lock) {
    return 1ULL << (((ULONG_PTR)Lock >> 3) * 0x9E3779B97F4A7C15ULL >> 58);
}

VOID GuardForgetLocks(ULONG_PTR Start, ULONG_PTR End) {
    GuardLock();
    for (ULONG i = 0; i < EdgeCount;) {
        if ((Edges[i].Held >= Start && Edges[i].Held < End) || (Edges[i].Taken >= Start && Edges[i].Taken < End)) {
            Edges[i] = Edges[--EdgeCount];
        } else {
            i++;
        }
    }
    GuardUnlock();
}

/* Whether Taken was once owned while Held was acquired, without a third lock around both; called with GuardLock. */
static const EDGE *Inverse(ULONG_PTR Held, ULONG_PTR Taken, ULONG64 With) {
    for (ULONG i = 0; i < EdgeCount; i++) {
        if (Edges[i].Held == Taken && Edges[i].Taken == Held && !(Edges[i].With & With)) {
            return &Edges[i];
        }
    }
    return NULL;
}

static VOID Remember(ULONG_PTR Held, ULONG_PTR Taken, ULONG64 With, ULONG_PTR Site) {
    for (ULONG i = 0; i < EdgeCount; i++) {
        if (Edges[i].Held == Held && Edges[i].Taken == Taken) {
            Edges[i].With &= With;
            return;
        }
    }
    if (EdgeCount < EDGES) {
        Edges[EdgeCount++] = (EDGE){Held, Taken, With, Site};
    }
}

static VOID CheckOrder(ULONG_PTR Caller, const GUARD_THREAD *Thread, PVOID Lock) {
    ULONG64 all = 0;
    ULONG_PTR other = 0;

    if (OnOwnStack((ULONG_PTR)Lock)) {
        return;
    }
    for (ULONG i = 0; i < Thread->HeldCount; i++) {
        all |= Bit(Thread->Held[i].Lock);
    }
    GuardLock();
    for (ULONG i = 0; i < Thread->HeldCount && !other; i++) {
        ULONG_PTR held = (ULONG_PTR)Thread->Held[i].Lock;
        if (!OnOwnStack(held)) {
            const EDGE *inverse = Inverse(held, (ULONG_PTR)Lock, all & ~Bit((PVOID)held) & ~Bit(Lock));
            other = inverse ? inverse->Site : 0;
            Remember(held, (ULONG_PTR)Lock, all & ~Bit((PVOID)held) & ~Bit(Lock), Caller);
        }
    }
    GuardUnlock();
    if (other) {
        GUARD_SITE site = {{other}};
        GuardPrintLeft("lock order", (ULONG_PTR)Lock, 0, 0, &site);
        GuardViolation(Caller, "locks acquired against their order", VERIFIER_VIOLATION, 0x1001, (ULONG_PTR)Lock, 0, 0);
    }
}

static GUARD_HELD *Find(GUARD_THREAD *Thread, PVOID Lock) {
    for (ULONG i = Thread ? Thread->HeldCount : 0; i-- > 0;) {
        if (Thread->Held[i].Lock == Lock) {
            return &Thread->Held[i];
        }
    }
    return NULL;
}

/* Before the kernel's routine: a thread that waits for itself would never come back from it. */
VOID GuardAcquiring(ULONG_PTR Caller, PVOID Lock, ULONG Kind, BOOLEAN Shared) {
    GUARD_THREAD *thread = GuardOn ? GuardThread(TRUE) : NULL;
    const GUARD_HELD *held = Find(thread, Lock);

    if (thread == NULL) {
        return;
    }
    if (held && !(Kind == GuardResource && (Shared || !held->Shared))) {
        GUARD_SITE site = {{held->Site}};
        GuardPrintLeft("lock held", (ULONG_PTR)Lock, 0, 0, &site);
        GuardViolation(Caller, "lock acquired by the thread that owns it", VERIFIER_VIOLATION, 0x1000, (ULONG_PTR)Lock,
                       0, 0);
    }
    if (!held) {
        CheckOrder(Caller, thread, Lock);
    }
}

/* After the kernel's routine. Irql: what the thread has from now on; returns what it had. */
KIRQL GuardAcquired(ULONG_PTR Caller, PVOID Lock, ULONG Kind, BOOLEAN Shared, KIRQL Irql) {
    GUARD_THREAD *thread = GuardOn ? GuardThread(TRUE) : NULL;
    GUARD_HELD *held = Find(thread, Lock);
    KIRQL before = thread ? thread->Irql : PASSIVE_LEVEL;

    if (thread) {
        thread->Irql = Irql > before ? Irql : before;
        if (held) {
            held->Count++;
        } else if (thread->HeldCount < GUARD_HELD_LIMIT) {
            thread->Held[thread->HeldCount++] = (GUARD_HELD){Lock, Kind, Shared, 1, before, Caller};
        }
    }
    return before;
}

static VOID Drop(GUARD_THREAD *Thread, GUARD_HELD *Held) {
    if (--Held->Count == 0) {
        for (GUARD_HELD *last = &Thread->Held[--Thread->HeldCount]; Held < last; Held++) {
            *Held = Held[1];
        }
    }
}

VOID GuardReleasedIfHeld(PVOID Lock) {
    GUARD_THREAD *thread = GuardThread(FALSE);
    GUARD_HELD *held = Find(thread, Lock);

    if (held) {
        Drop(thread, held);
    }
}

/* Before the kernel's routine. Returns the IRQL before the lock was acquired, or Otherwise if that was not seen. */
KIRQL GuardReleased(ULONG_PTR Caller, PVOID Lock, ULONG Kind, KIRQL Otherwise) {
    GUARD_THREAD *thread = GuardOn ? GuardThread(FALSE) : NULL;
    GUARD_HELD *held = Find(thread, Lock);

    if (thread == NULL || (held == NULL && (thread->Depth == 0 || thread->HeldCount == GUARD_HELD_LIMIT))) {
        return Otherwise; /* perhaps acquired where the guard did not see it */
    }
    if (held == NULL) {
        BOOLEAN spin = Kind == GuardSpinLock || Kind == GuardQueuedSpinLock || Kind == GuardCancelLock;
        if (spin && thread->Irql != DISPATCH_LEVEL) {
            GuardViolation(Caller, "spin lock released that is not held, below DISPATCH_LEVEL", VERIFIER_VIOLATION,
                           0x32, thread->Irql, (ULONG_PTR)Lock, 0);
        }
        if (Kind == GuardFastMutex && thread->Irql != APC_LEVEL) {
            GuardViolation(Caller, "fast mutex released that is not held, not at APC_LEVEL", VERIFIER_VIOLATION, 0x34,
                           thread->Irql, 0, (ULONG_PTR)Lock);
        }
        GuardViolation(Caller, "lock released that this thread does not hold", VERIFIER_VIOLATION, 0x1007,
                       (ULONG_PTR)Lock, 0, 0);
    }
    KIRQL before = held->Irql;
    Drop(thread, held);
    return before;
}

/* After a release: the thread's IRQL, and the end of its record if nothing is left in it. */
VOID GuardSetIrql(KIRQL Irql) {
    GUARD_THREAD *thread = GuardThread(FALSE);

    if (thread) {
        thread->Irql = Irql;
        GuardIdle(thread);
    }
}
