/*
 * guard_timers.c - the driver's timers and DPCs. A DPC routine is called through the guard, which so knows its IRQL; a
 * timer must not be active when its memory, or the driver, goes.
 */
#include "guard.h"

#define TIMERS 256u
#define DPCS 256u
#define SYSTEM_TIME 0x7FFE0014ULL /* SystemTime of KUSER_SHARED_DATA in a process */

typedef struct TIMER {
    PKTIMER Timer;
    PKDPC Dpc;
    BOOLEAN Periodic;
    LONGLONG Due; /* system time at which it expires */
    GUARD_SITE Site;
} TIMER;

typedef struct DPC {
    PKDPC Dpc;
    PKDEFERRED_ROUTINE Routine;
    PVOID Context;
} DPC;

static TIMER Timers[TIMERS];
static DPC Dpcs[DPCS];

VOID GuardTimersBegin(VOID) {
    RtlZeroMemory(Timers, sizeof(Timers));
    RtlZeroMemory(Dpcs, sizeof(Dpcs));
}

/* The system time where a process sees it: the kernel's address of it faults here, which the log would tell. */
static LONGLONG Now(VOID) {
    return *(volatile LONGLONG *)SYSTEM_TIME;
}

static VOID RememberTimer(ULONG_PTR Caller, PKTIMER Timer, PKDPC Dpc, BOOLEAN Periodic, LARGE_INTEGER Due) {
    TIMER *free = NULL;
    GUARD_SITE site;

    LONGLONG due = Due.QuadPart < 0 ? Now() - Due.QuadPart : Due.QuadPart;

    GuardSite(Caller, &site);
    GuardLock();
    for (ULONG i = 0; i < TIMERS; i++) {
        if (Timers[i].Timer == Timer) {
            free = &Timers[i];
            break;
        }
        if (Timers[i].Timer == NULL && free == NULL) {
            free = &Timers[i];
        }
    }
    if (free) {
        *free = (TIMER){Timer, Dpc, Periodic, due, site};
    }
    GuardUnlock();
}

static VOID ForgetTimer(PKTIMER Timer) {
    GuardLock();
    for (ULONG i = 0; i < TIMERS; i++) {
        if (Timers[i].Timer == Timer) {
            Timers[i].Timer = NULL;
        }
    }
    GuardUnlock();
}

/* A periodic timer goes on; another is over when its time has come, or it is signaled. */
static BOOLEAN IsActive(const TIMER *Timer) {
    return Timer->Timer != NULL && (Timer->Periodic || (Now() < Timer->Due && Timer->Timer->Header.SignalState == 0));
}

BOOLEAN NTAPI GuardKeSetTimerEx(PKTIMER Timer, LARGE_INTEGER Due, LONG Period, PKDPC Dpc) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "KeSetTimerEx", 0xE5, 0, 0);
    if (GuardOn) {
        RememberTimer(CALLER, Timer, Dpc, Period != 0, Due);
    }
    return REAL(KeSetTimerEx)(Timer, Due, Period, Dpc);
}

BOOLEAN NTAPI GuardKeSetTimer(PKTIMER Timer, LARGE_INTEGER Due, PKDPC Dpc) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "KeSetTimer", 0xE5, 0, 0);
    if (GuardOn) {
        RememberTimer(CALLER, Timer, Dpc, FALSE, Due);
    }
    return REAL(KeSetTimer)(Timer, Due, Dpc);
}

BOOLEAN NTAPI GuardKeCancelTimer(PKTIMER Timer) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "KeCancelTimer", 0xE5, 0, 0);
    BOOLEAN was = REAL(KeCancelTimer)(Timer);
    ForgetTimer(Timer);
    return was;
}

/* Memory that holds an active timer is freed. Type: of the pool, or -1 for a device extension. */
BOOLEAN GuardCheckFreed(ULONG_PTR Caller, ULONG_PTR Start, ULONG_PTR End, ULONG Type) {
    ULONG_PTR active = 0;
    BOOLEAN held = FALSE;

    GuardLock();
    for (ULONG i = 0; i < TIMERS; i++) {
        ULONG_PTR timer = (ULONG_PTR)Timers[i].Timer;
        if (timer >= Start && timer < End) {
            held = TRUE;
            active = IsActive(&Timers[i]) ? timer : active;
            Timers[i].Timer = NULL;
        }
    }
    for (ULONG i = 0; i < DPCS; i++) {
        if ((ULONG_PTR)Dpcs[i].Dpc >= Start && (ULONG_PTR)Dpcs[i].Dpc < End) {
            held = TRUE;
            Dpcs[i].Dpc = NULL;
        }
    }
    GuardUnlock();
    GuardForgetLocks(Start, End);
    GuardCheckResources(Caller, Start, End, Type);
    if (active && Type == (ULONG)-1) {
        GuardViolation(Caller, "device deleted whose extension holds an active timer", TIMER_OR_DPC_INVALID_CODE, 0,
                       active, Start, End);
    }
    if (active) {
        GuardViolation(Caller, "pool freed that holds an active timer", VERIFIER_VIOLATION, 0x15, active, Type, Start);
    }
    return held;
}

VOID GuardTimersLeft(ULONG_PTR Unload) {
    ULONG_PTR start, end;

    GuardImage(&start, &end);
    for (ULONG i = 0; i < TIMERS; i++) {
        if (IsActive(&Timers[i])) {
            GuardPrintLeft("timer", (ULONG_PTR)Timers[i].Timer, 0, 0, &Timers[i].Site);
            GuardViolationLeft(Unload, "timer active when the driver is unloaded", TIMER_OR_DPC_INVALID_CODE, 0,
                               (ULONG_PTR)Timers[i].Timer, start, end);
        }
    }
}

/* DPCs. */

static DPC *FindDpc(PKDPC Dpc, BOOLEAN Create) {
    DPC *free = NULL;

    for (ULONG i = 0; i < DPCS; i++) {
        if (Dpcs[i].Dpc == Dpc) {
            return &Dpcs[i];
        }
        if (Dpcs[i].Dpc == NULL && free == NULL) {
            free = &Dpcs[i];
        }
    }
    return Create ? free : NULL;
}

/* The DPC of a timer that is not periodic: the timer has expired. */
static VOID ExpireTimers(PKDPC Dpc) {
    GuardLock();
    for (ULONG i = 0; i < TIMERS; i++) {
        if (Timers[i].Timer && Timers[i].Dpc == Dpc && !Timers[i].Periodic) {
            Timers[i].Timer = NULL;
        }
    }
    GuardUnlock();
}

static VOID NTAPI RunDpc(PKDPC Dpc, PVOID Context, PVOID First, PVOID Second) {
    DPC copy = {0};

    UNREFERENCED_PARAMETER(Context);
    GuardLock();
    const DPC *known = FindDpc(Dpc, FALSE);
    if (known) {
        copy = *known;
    }
    GuardUnlock();
    if (copy.Routine == NULL) {
        return; /* its memory was freed */
    }
    ExpireTimers(Dpc);
    GUARD_CALL call = GuardEnter(DISPATCH_LEVEL);
    copy.Routine(Dpc, copy.Context, First, Second);
    if (GuardOn && call.Thread && call.Thread->Irql != DISPATCH_LEVEL) {
        GuardViolation((ULONG_PTR)copy.Routine, "DPC routine returned at another IRQL", 0xC8,
                       ((ULONG_PTR)call.Thread->Irql << 16) | (DISPATCH_LEVEL << 8) | 2, (ULONG_PTR)copy.Routine,
                       (ULONG_PTR)copy.Context, 0);
    }
    GuardLeave(&call);
}

VOID NTAPI GuardKeInitializeDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE Routine, PVOID Context) {
    GuardLock();
    DPC *known = GuardOn ? FindDpc(Dpc, TRUE) : NULL;
    if (known) {
        *known = (DPC){Dpc, Routine, Context};
    }
    GuardUnlock();
    REAL(KeInitializeDpc)(Dpc, known ? RunDpc : Routine, Context);
}

GUARD_IMPORT(KeCancelTimer);
GUARD_IMPORT(KeInitializeDpc);
GUARD_IMPORT(KeSetTimer);
GUARD_IMPORT(KeSetTimerEx);
