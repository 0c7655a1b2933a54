/*
 * guard_fail.c - low resources: which allocations are made to fail, as the host has asked over the channel. The plan
 * holds from the moment it is set; DriverEntry always gets its memory.
 */
#include "guard.h"

#define PER_MILLION 1000000u

static volatile LONG FailAt;  /* the allocation that fails, counted from 1; 0 for none */
static volatile LONG Chance;  /* of each, in millionths */
static volatile LONG Counted; /* allocations since the plan was set */
static ULONGLONG Random;

/* Argument of the part: bits 0 to 31 a number, 32 to 39 what it is: 1 the allocation to fail, 2 a chance in millionths;
   bits 40 to 63 seed the chances. 0 clears. */
VOID GuardFailPlan(ULONGLONG Argument) {
    LONG number = (LONG)(Argument & MAXLONG);
    ULONG kind = (ULONG)(Argument >> 32) & 0xFF;

    Random = (Argument >> 40) * 2 + 1;
    Counted = 0;
    Chance = kind == 2 ? number : 0;
    FailAt = kind == 1 ? number : 0;
}

static BOOLEAN Falls(VOID) {
    GuardLock();
    Random ^= Random << 13; /* xorshift, Marsaglia 2003 */
    Random ^= Random >> 7;
    Random ^= Random << 17;
    ULONG drawn = (ULONG)(Random % PER_MILLION);
    GuardUnlock();
    return drawn < (ULONG)Chance;
}

BOOLEAN GuardFails(ULONG_PTR Caller) {
    LONG number = InterlockedIncrement(&Counted);
    BOOLEAN fails = number == FailAt || (Chance != 0 && Falls());

    if (fails) {
        GUARD_SITE site;
        GuardSite(Caller, &site);
        DbgPrint("winvm-guard: failed: allocation %d at %p %p %p %p %p %p\n", number, site.Frames[0], site.Frames[1],
                 site.Frames[2], site.Frames[3], site.Frames[4], site.Frames[5]);
    }
    return fails;
}
