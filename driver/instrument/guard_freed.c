/*
 * guard_freed.c - MDLs and work items that the driver has freed. On Windows both are pool, whose second free is
 * Verifier's bugcheck.
 */
#include "guard.h"

#define OBJECTS 256u

static PVOID Objects[OBJECTS];
static ULONG Next;

VOID GuardGiven(PVOID Object) {
    GuardLock();
    for (ULONG i = 0; i < OBJECTS; i++) {
        if (Objects[i] == Object) {
            Objects[i] = NULL;
        }
    }
    GuardUnlock();
}

VOID GuardFreed(ULONG_PTR Caller, PVOID Object, PCSTR What) {
    BOOLEAN again = FALSE;

    GuardLock();
    for (ULONG i = 0; i < OBJECTS; i++) {
        again = again || Objects[i] == Object;
    }
    if (!again) {
        Objects[Next++ % OBJECTS] = Object;
    }
    GuardUnlock();
    if (again) {
        GuardViolation(Caller, What, VERIFIER_VIOLATION, 0x13, 0, (ULONG_PTR)Object, 0);
    }
}
