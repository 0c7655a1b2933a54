/*
 * guard_mdl.c - the driver's MDLs and IRPs: allocated and not freed, unlocked that are not locked, unmapped that are
 * not mapped, freed while they are. A guest without Windows keeps no such state in the MDL itself.
 */
#include "guard.h"

#define MDLS 1024u

typedef struct TRACKED_MDL {
    PMDL Mdl;    /* NULL for none */
    BOOLEAN Own; /* the driver must free it: it is not an IRP's */
    BOOLEAN Locked;
    PVOID Mapped; /* the address, or NULL */
    GUARD_SITE Site;
} TRACKED_MDL;

typedef struct TRACKED_IRP {
    PIRP Irp;
    GUARD_SITE Site;
} TRACKED_IRP;

static TRACKED_MDL Mdls[MDLS];
static TRACKED_IRP Irps[MDLS];

VOID GuardMdlsBegin(VOID) {
    RtlZeroMemory(Mdls, sizeof(Mdls));
    RtlZeroMemory(Irps, sizeof(Irps));
}

/* With GuardLock. */
static TRACKED_MDL *Find(PMDL Mdl) {
    for (ULONG i = 0; i < MDLS; i++) {
        if (Mdls[i].Mdl == Mdl) {
            return &Mdls[i];
        }
    }
    return NULL;
}

PMDL NTAPI GuardIoAllocateMdl(PVOID Address, ULONG Length, BOOLEAN Secondary, BOOLEAN Charge, PIRP Irp) {
    GUARD_SITE site;

    GuardAtMost(CALLER, DISPATCH_LEVEL, "IoAllocateMdl", 0xE5, 0, 0);
    if (GuardOn && GuardFails(CALLER)) {
        return NULL;
    }
    PMDL mdl = REAL(IoAllocateMdl)(Address, Length, Secondary, Charge, Irp);
    if (GuardOn && mdl) {
        GuardGiven(mdl);
        GuardSite(CALLER, &site);
        GuardLock();
        TRACKED_MDL *tracked = Find(mdl);
        tracked = tracked ? tracked : Find(NULL);
        if (tracked) {
            *tracked = (TRACKED_MDL){mdl, Irp == NULL, FALSE, NULL, site};
        }
        GuardUnlock();
    }
    return mdl;
}

VOID NTAPI GuardIoFreeMdl(PMDL Mdl) {
    TRACKED_MDL copy = {0};

    GuardLock();
    TRACKED_MDL *tracked = GuardOn ? Find(Mdl) : NULL;
    if (tracked && Mdl) {
        copy = *tracked;
        tracked->Mdl = NULL;
    }
    GuardUnlock();
    if (copy.Mapped && !(Mdl->MdlFlags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL))) {
        GuardViolation(CALLER, "MDL freed whose pages are mapped", VERIFIER_VIOLATION, 0xB8, (ULONG_PTR)Mdl,
                       (ULONG_PTR)Mdl->MdlFlags, 0);
    }
    if (copy.Locked) {
        GuardViolation(CALLER, "MDL freed whose pages are locked", LEFT_LOCKED_PAGES, 0, 0, (ULONG_PTR)Mdl,
                       ADDRESS_AND_SIZE_TO_SPAN_PAGES(Mdl->ByteOffset, Mdl->ByteCount));
    }
    if (GuardOn && copy.Mdl == NULL) {
        GuardFreed(CALLER, Mdl, "MDL freed twice");
    } else if (GuardOn) {
        GuardGiven(Mdl);
        GuardFreed(CALLER, Mdl, "");
    }
    REAL(IoFreeMdl)(Mdl);
}

VOID NTAPI GuardMmProbeAndLockPages(PMDLX Mdl, KPROCESSOR_MODE Mode, LOCK_OPERATION Operation) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "MmProbeAndLockPages", 0x70, (ULONG_PTR)Mdl, (ULONG_PTR)Mode);
    REAL(MmProbeAndLockPages)(Mdl, Mode, Operation); /* raises where the pages are not accessible */
    GuardLock();
    TRACKED_MDL *tracked = GuardOn ? Find(Mdl) : NULL;
    BOOLEAN again = tracked && tracked->Locked;
    if (tracked) {
        tracked->Locked = TRUE;
    }
    GuardUnlock();
    if (again) {
        GuardViolation(CALLER, "MDL locked whose pages are locked", VERIFIER_VIOLATION, 0xB0, (ULONG_PTR)Mdl,
                       (ULONG_PTR)Mdl->MdlFlags, MDL_PAGES_LOCKED);
    }
}

/* Of an MDL that the driver did not allocate, as that of an IRP for direct I/O, nothing is known. */
VOID NTAPI GuardMmUnlockPages(PMDLX Mdl) {
    BOOLEAN known = FALSE, locked = FALSE;

    GuardAtMost(CALLER, DISPATCH_LEVEL, "MmUnlockPages", 0x78, (ULONG_PTR)Mdl, 0);
    GuardLock();
    TRACKED_MDL *tracked = GuardOn ? Find(Mdl) : NULL;
    if (tracked && Mdl) {
        known = TRUE;
        locked = tracked->Locked;
        tracked->Locked = FALSE;
        tracked->Mapped = NULL; /* it unmaps a mapping of kernel mode, too */
    }
    GuardUnlock();
    if (known && (Mdl->MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL)) {
        GuardViolation(CALLER, "MDL of nonpaged pool unlocked", VERIFIER_VIOLATION, 0x7D, (ULONG_PTR)Mdl,
                       (ULONG_PTR)Mdl->MdlFlags, 0);
    }
    if (known && !locked) {
        GuardViolation(CALLER, "MDL unlocked that is not locked", VERIFIER_VIOLATION, 0x7C, (ULONG_PTR)Mdl,
                       (ULONG_PTR)Mdl->MdlFlags, 0);
    }
    REAL(MmUnlockPages)(Mdl);
}

PVOID NTAPI GuardMmMapLockedPagesSpecifyCache(PMDLX Mdl, KPROCESSOR_MODE Mode, MEMORY_CACHING_TYPE Cache, PVOID Address,
                                              ULONG BugCheck, ULONG Priority) {
    GuardAtMost(CALLER, Mode == KernelMode ? DISPATCH_LEVEL : APC_LEVEL, "MmMapLockedPagesSpecifyCache",
                Mode == KernelMode ? 0x76 : 0x77, (ULONG_PTR)Mdl, (ULONG_PTR)Mode);
    if (GuardOn && GuardFails(CALLER)) {
        if (Mode == UserMode) {
            REAL(RtlRaiseStatus)(STATUS_INSUFFICIENT_RESOURCES); /* as its page says of user mode */
        }
        return NULL;
    }
    PVOID mapped = REAL(MmMapLockedPagesSpecifyCache)(Mdl, Mode, Cache, Address, BugCheck, Priority);
    GuardLock();
    TRACKED_MDL *tracked = GuardOn && mapped ? Find(Mdl) : NULL;
    if (tracked && Mdl) {
        tracked->Mapped = mapped;
    }
    GuardUnlock();
    return mapped;
}

VOID NTAPI GuardMmUnmapLockedPages(PVOID Address, PMDLX Mdl) {
    BOOLEAN known = FALSE;
    PVOID mapped = NULL;

    GuardLock();
    TRACKED_MDL *tracked = GuardOn ? Find(Mdl) : NULL;
    if (tracked && Mdl) {
        known = TRUE;
        mapped = tracked->Mapped;
        tracked->Mapped = NULL;
    }
    GuardUnlock();
    if (known && mapped == NULL) {
        GuardViolation(CALLER, "MDL unmapped that is not mapped", VERIFIER_VIOLATION, 0xB6, (ULONG_PTR)Mdl,
                       (ULONG_PTR)Mdl->MdlFlags, MDL_MAPPED_TO_SYSTEM_VA);
    }
    REAL(MmUnmapLockedPages)(Address, Mdl);
}

/* The I/O manager frees the MDLs of an IRP that is completed; passed on, it may be completed below. */
VOID GuardMdlsGiven(PIRP Irp) {
    ULONG steps = 0;

    for (PMDL mdl = Irp->MdlAddress; mdl && steps < 64; mdl = mdl->Next, steps++) {
        GuardLock();
        TRACKED_MDL *tracked = Find(mdl);
        if (tracked) {
            tracked->Mdl = NULL;
        }
        GuardUnlock();
    }
    GuardLock();
    for (ULONG i = 0; i < MDLS; i++) {
        if (Irps[i].Irp == Irp) {
            Irps[i].Irp = NULL; /* who frees it depends on its completion routine */
        }
    }
    GuardUnlock();
}

PIRP NTAPI GuardIoAllocateIrp(CCHAR Size, BOOLEAN Charge) {
    if (GuardOn && GuardFails(CALLER)) {
        return NULL;
    }
    PIRP irp = REAL(IoAllocateIrp)(Size, Charge);
    if (GuardOn && irp) {
        GUARD_SITE site;
        GuardSite(CALLER, &site);
        GuardLock();
        for (ULONG i = 0; i < MDLS; i++) {
            if (Irps[i].Irp == NULL) {
                Irps[i] = (TRACKED_IRP){irp, site};
                break;
            }
        }
        GuardUnlock();
    }
    return irp;
}

VOID NTAPI GuardIoFreeIrp(PIRP Irp) {
    if (GuardOn && Irp->Type != IO_TYPE_IRP) {
        GuardViolation(CALLER, "IoFreeIrp on what is no IRP", VERIFIER_IO_VIOLATION, 0x1, (ULONG_PTR)Irp, 0, 0);
    }
    GuardLock();
    for (ULONG i = 0; i < MDLS; i++) {
        if (Irps[i].Irp == Irp) {
            Irps[i].Irp = NULL;
        }
    }
    GuardUnlock();
    REAL(IoFreeIrp)(Irp);
}

ULONG GuardMdlsLeft(VOID) {
    ULONG count = 0;

    for (ULONG i = 0; i < MDLS; i++) {
        if (Mdls[i].Mdl && Mdls[i].Own) {
            count++;
            GuardPrintLeft(Mdls[i].Locked ? "locked MDL" : "MDL", (ULONG_PTR)Mdls[i].Mdl, 0, 0, &Mdls[i].Site);
        }
        if (Irps[i].Irp) {
            count++;
            GuardPrintLeft("allocated IRP", (ULONG_PTR)Irps[i].Irp, 0, 0, &Irps[i].Site);
        }
    }
    return count;
}

GUARD_IMPORT(IoAllocateIrp);
GUARD_IMPORT(IoAllocateMdl);
GUARD_IMPORT(IoFreeIrp);
GUARD_IMPORT(IoFreeMdl);
GUARD_IMPORT(MmMapLockedPagesSpecifyCache);
GUARD_IMPORT(MmProbeAndLockPages);
GUARD_IMPORT(MmUnlockPages);
GUARD_IMPORT(MmUnmapLockedPages);
