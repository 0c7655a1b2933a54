/*
 * guard_references.c - what the driver took of objects and must give back before it is unloaded: references by handle,
 * remove locks, and resources, which must not be active in memory that is freed.
 */
#include "guard.h"

#define REFERENCES 256u
#define RESOURCES 256u

/* A reference to an object, or a remove lock acquired with a tag. */
typedef struct REFERENCE {
    PVOID Object; /* NULL for none */
    PVOID Tag;
    LONG Count;
    BOOLEAN Lock;
    GUARD_SITE Site;
} REFERENCE;

static REFERENCE References[REFERENCES];
static PERESOURCE Resources[RESOURCES];

VOID GuardReferencesBegin(VOID) {
    RtlZeroMemory(References, sizeof(References));
    RtlZeroMemory(Resources, sizeof(Resources));
}

/* With GuardLock. */
static REFERENCE *Find(PVOID Object, PVOID Tag, BOOLEAN Lock) {
    for (ULONG i = 0; i < REFERENCES; i++) {
        if (References[i].Object == Object &&
            (Object == NULL || (References[i].Tag == Tag && References[i].Lock == Lock))) {
            return &References[i];
        }
    }
    return NULL;
}

static VOID Took(ULONG_PTR Caller, PVOID Object, PVOID Tag, BOOLEAN Lock) {
    GUARD_SITE site;

    GuardSite(Caller, &site);
    GuardLock();
    REFERENCE *known = Find(Object, Tag, Lock);
    if (known) {
        known->Count++;
    } else if ((known = Find(NULL, NULL, FALSE)) != NULL) {
        *known = (REFERENCE){Object, Tag, 1, Lock, site};
    }
    GuardUnlock();
}

static VOID Gave(PVOID Object, PVOID Tag, BOOLEAN Lock) {
    GuardLock();
    REFERENCE *known = Object ? Find(Object, Tag, Lock) : NULL;
    if (known && --known->Count == 0) {
        known->Object = NULL;
    }
    GuardUnlock();
}

/* Only references by handle are counted: others are often given to a routine of the kernel, which drops them. */
NTSTATUS NTAPI GuardObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK Access, POBJECT_TYPE Type,
                                              KPROCESSOR_MODE Mode, PVOID *Object,
                                              POBJECT_HANDLE_INFORMATION Information) {
    GuardAtMost(CALLER, PASSIVE_LEVEL, "ObReferenceObjectByHandle", 0xE5, 0, 0);
    NTSTATUS status = REAL(ObReferenceObjectByHandle)(Handle, Access, Type, Mode, Object, Information);
    if (GuardOn && NT_SUCCESS(status)) {
        Took(CALLER, *Object, NULL, FALSE);
    }
    return status;
}

LONG_PTR FASTCALL GuardObfDereferenceObject(PVOID Object) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "ObDereferenceObject", 0xE5, 0, 0);
    Gave(Object, NULL, FALSE);
    return REAL(ObfDereferenceObject)(Object);
}

VOID NTAPI GuardIoInitializeRemoveLockEx(PIO_REMOVE_LOCK Lock, ULONG Tag, ULONG Minutes, ULONG Most, ULONG Size) {
    GuardLock();
    for (ULONG i = 0; i < REFERENCES; i++) {
        if (References[i].Lock && References[i].Object == Lock) {
            References[i].Object = NULL;
        }
    }
    GuardUnlock();
    REAL(IoInitializeRemoveLockEx)(Lock, Tag, Minutes, Most, Size);
}

NTSTATUS NTAPI GuardIoAcquireRemoveLockEx(PIO_REMOVE_LOCK Lock, PVOID Tag, PCSTR File, ULONG Line, ULONG Size) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "IoAcquireRemoveLock", 0xE5, 0, 0);
    NTSTATUS status = REAL(IoAcquireRemoveLockEx)(Lock, Tag, File, Line, Size);
    if (GuardOn && NT_SUCCESS(status)) {
        Took(CALLER, Lock, Tag, TRUE);
    }
    return status;
}

VOID NTAPI GuardIoReleaseRemoveLockEx(PIO_REMOVE_LOCK Lock, PVOID Tag, ULONG Size) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "IoReleaseRemoveLock", 0xE5, 0, 0);
    Gave(Lock, Tag, TRUE);
    REAL(IoReleaseRemoveLockEx)(Lock, Tag, Size);
}

VOID NTAPI GuardIoReleaseRemoveLockAndWaitEx(PIO_REMOVE_LOCK Lock, PVOID Tag, ULONG Size) {
    GuardAtMost(CALLER, PASSIVE_LEVEL, "IoReleaseRemoveLockAndWait", 0xE5, 0, 0);
    Gave(Lock, Tag, TRUE);
    REAL(IoReleaseRemoveLockAndWaitEx)(Lock, Tag, Size);
}

NTSTATUS NTAPI GuardExInitializeResourceLite(PERESOURCE Resource) {
    GuardLock();
    for (ULONG i = 0; GuardOn && i < RESOURCES; i++) {
        if (Resources[i] == NULL || Resources[i] == Resource) {
            Resources[i] = Resource;
            break;
        }
    }
    GuardUnlock();
    return REAL(ExInitializeResourceLite)(Resource);
}

/* Forgets the resources of a range of memory; returns one of them, NULL without any. */
static PERESOURCE ForgetResources(ULONG_PTR Start, ULONG_PTR End) {
    PERESOURCE found = NULL;

    GuardLock();
    for (ULONG i = 0; i < RESOURCES; i++) {
        if ((ULONG_PTR)Resources[i] >= Start && (ULONG_PTR)Resources[i] < End) {
            found = Resources[i];
            Resources[i] = NULL;
        }
    }
    GuardUnlock();
    return found;
}

NTSTATUS NTAPI GuardExDeleteResourceLite(PERESOURCE Resource) {
    ForgetResources((ULONG_PTR)Resource, (ULONG_PTR)(Resource + 1));
    GuardForgetLocks((ULONG_PTR)Resource, (ULONG_PTR)(Resource + 1));
    return REAL(ExDeleteResourceLite)(Resource);
}

VOID GuardCheckResources(ULONG_PTR Caller, ULONG_PTR Start, ULONG_PTR End, ULONG Type) {
    PERESOURCE active = ForgetResources(Start, End);

    if (active) {
        GuardViolation(Caller, "memory freed that holds an active ERESOURCE", VERIFIER_VIOLATION, 0x17,
                       (ULONG_PTR)active, Type, Start);
    }
}

ULONG GuardReferencesLeft(VOID) {
    ULONG count = 0;

    for (ULONG i = 0; i < REFERENCES; i++) {
        if (References[i].Object) {
            count++;
            GuardPrintLeft(References[i].Lock ? "remove lock" : "reference", (ULONG_PTR)References[i].Object, 0, 0,
                           &References[i].Site);
        }
    }
    return count;
}

GUARD_IMPORT(ExDeleteResourceLite);
GUARD_IMPORT(ExInitializeResourceLite);
GUARD_IMPORT(IoAcquireRemoveLockEx);
GUARD_IMPORT(IoInitializeRemoveLockEx);
GUARD_IMPORT(IoReleaseRemoveLockAndWaitEx);
GUARD_IMPORT(IoReleaseRemoveLockEx);
GUARD_IMPORT(ObReferenceObjectByHandle);
GUARD_IMPORT(ObfDereferenceObject);
