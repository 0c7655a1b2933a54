/*
 * guard_pool.c - the routines that allocate and free pool, as the driver's calls reach them.
 */
#include "guard.h"

#define POOL_QUOTA_FAIL_INSTEAD_OF_RAISE 8
#ifndef PROTECTED_POOL
#define PROTECTED_POOL 0x80000000
#endif
#define POOL_TYPE_MASK 1 /* PagedPool is odd */
#define FLAG_UNINITIALIZED 0x2ULL
#define FLAG_RAISE 0x20ULL
#define FLAG_NONPAGED_EXECUTE 0x80ULL
#define FLAG_PAGED 0x100ULL
#define RAISE_IF_FAILURE 16
#define ZERO_ALLOCATION 1024

PVOID NTAPI ExAllocatePool2(ULONGLONG Flags, SIZE_T Size, ULONG Tag);

static VOID CheckAllocation(ULONG_PTR Caller, ULONG Type, SIZE_T Size, ULONG Tag) {
    KIRQL irql;
    BOOLEAN paged = (Type & POOL_TYPE_MASK) != 0;

    GuardNotPaged(Caller);
    if (Size == 0) {
        GuardViolation(Caller, "pool allocation of 0 bytes", VERIFIER_VIOLATION, 0x00,
                       GuardIrql(&irql) ? irql : PASSIVE_LEVEL, Type, 0);
    }
    if (Tag == 0) {
        GuardViolation(Caller, "pool allocation with tag 0", BAD_POOL_CALL, 0x9B, Type, Size, Caller);
    }
    if (GuardIrql(&irql) && irql > (paged ? APC_LEVEL : DISPATCH_LEVEL)) {
        GuardViolation(Caller, paged ? "paged pool allocated above APC_LEVEL" : "pool allocated above DISPATCH_LEVEL",
                       VERIFIER_VIOLATION, paged ? 0x01 : 0x02, irql, Type, Size);
    }
}

/* A watched allocation. Returns FALSE if the kernel's own routine must serve it. */
static BOOLEAN Serve(ULONG_PTR Caller, ULONG Type, SIZE_T Size, ULONG Tag, BOOLEAN Zero, PVOID *Block) {
    *Block = NULL;
    if (!GuardOn) {
        return FALSE;
    }
    CheckAllocation(Caller, Type, Size, Tag);
    if (GuardFails(Caller)) {
        return TRUE;
    }
    *Block = GuardTakeBlock(Caller, Type, Size, Tag, Zero);
    return *Block != NULL;
}

static PVOID OrRaise(PVOID Block, BOOLEAN Raise) {
    if (Block == NULL && Raise) {
        REAL(RtlRaiseStatus)(STATUS_INSUFFICIENT_RESOURCES);
    }
    return Block;
}

PVOID NTAPI GuardExAllocatePoolWithTag(POOL_TYPE Type, SIZE_T Size, ULONG Tag) {
    PVOID block;

    if (Serve(CALLER, Type, Size, Tag, (Type & ZERO_ALLOCATION) != 0, &block)) {
        return OrRaise(block, (Type & RAISE_IF_FAILURE) != 0);
    }
    return REAL(ExAllocatePoolWithTag)(Type, Size, Tag);
}

PVOID NTAPI GuardExAllocatePool(POOL_TYPE Type, SIZE_T Size) {
    PVOID block;

    if (Serve(CALLER, Type, Size, 'enoN', (Type & ZERO_ALLOCATION) != 0, &block)) {
        return OrRaise(block, (Type & RAISE_IF_FAILURE) != 0);
    }
    return REAL(ExAllocatePoolWithTag)(Type, Size, 'enoN');
}

PVOID NTAPI GuardExAllocatePoolWithQuotaTag(POOL_TYPE Type, SIZE_T Size, ULONG Tag) {
    PVOID block;

    if (Serve(CALLER, Type, Size, Tag, FALSE, &block)) {
        return OrRaise(block, (Type & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE) == 0);
    }
    return REAL(ExAllocatePoolWithQuotaTag)(Type, Size, Tag);
}

PVOID NTAPI GuardExAllocatePoolWithQuota(POOL_TYPE Type, SIZE_T Size) {
    PVOID block;

    if (Serve(CALLER, Type, Size, 'enoN', FALSE, &block)) {
        return OrRaise(block, (Type & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE) == 0);
    }
    return REAL(ExAllocatePoolWithQuotaTag)(Type, Size, 'enoN');
}

PVOID NTAPI GuardExAllocatePoolWithTagPriority(POOL_TYPE Type, SIZE_T Size, ULONG Tag, EX_POOL_PRIORITY Priority) {
    PVOID block;

    if (Serve(CALLER, Type, Size, Tag, FALSE, &block)) {
        return OrRaise(block, (Type & RAISE_IF_FAILURE) != 0);
    }
    return REAL(ExAllocatePoolWithTagPriority)(Type, Size, Tag, Priority);
}

PVOID NTAPI GuardExAllocatePool2(ULONGLONG Flags, SIZE_T Size, ULONG Tag) {
    ULONG type = Flags & FLAG_PAGED ? PagedPool : Flags & FLAG_NONPAGED_EXECUTE ? NonPagedPool : NonPagedPoolNx;
    PVOID block;

    if (Serve(CALLER, type, Size, Tag, (Flags & FLAG_UNINITIALIZED) == 0, &block)) {
        return OrRaise(block, (Flags & FLAG_RAISE) != 0);
    }
    return REAL(ExAllocatePool2)(Flags, Size, Tag);
}

static BOOLEAN OnOwnStack(ULONG_PTR Address) {
    return Address >= __readgsqword(0x10) && Address < __readgsqword(0x8); /* StackLimit and StackBase of the TEB */
}

/* Frees a guarded block; FALSE if the address is none. */
static BOOLEAN Release(ULONG_PTR Caller, PVOID Block, ULONG Tag) {
    ULONG_PTR at = (ULONG_PTR)Block;
    KIRQL irql;

    if (!GuardOn) {
        return GuardPageOf(at) != GuardPageForeign;
    }
    if (Block == NULL) {
        GuardViolation(Caller, "NULL freed as pool", BAD_POOL_CALL, 0x46, 0, 0, 0);
    }
    GuardLock();
    GUARD_BLOCK *record = GuardBlockOf(at);
    BOOLEAN whole = record != NULL && record->Block == Block;
    BOOLEAN again = whole && (!record->Live || record->Freeing);
    if (whole && !again) {
        record->Freeing = TRUE;
    }
    GuardUnlock();
    if (again) {
        GuardPoolDescribe(at);
        GuardViolation(Caller, "pool freed twice", VERIFIER_VIOLATION, 0x13, 0, at, 0);
    }
    if (record != NULL && record->Live && !whole) {
        GuardPoolDescribe(at);
        GuardViolation(Caller, "address inside a pool block freed", SPECIAL_POOL_MISUSE, at, (ULONG_PTR)record->Block,
                       record->Size, 0x21);
    }
    if (!whole) {
        if (GuardPageOf(at) != GuardPageForeign || GuardInImage(at) || OnOwnStack(at)) {
            GuardViolation(Caller, "address freed that was never allocated", VERIFIER_VIOLATION, 0x10, at, 0, 0);
        }
        return FALSE; /* perhaps a block that the kernel allocated for the driver */
    }
    if (Tag != 0 && ((Tag ^ record->Tag) & ~(ULONG)PROTECTED_POOL) != 0) {
        GuardPoolDescribe(at);
        GuardViolation(Caller, "pool freed with another tag", BAD_POOL_CALL, 0x0A, at, record->Tag, Tag);
    }
    BOOLEAN paged = (record->Type & POOL_TYPE_MASK) != 0;
    if (GuardIrql(&irql) && irql > (paged ? APC_LEVEL : DISPATCH_LEVEL)) {
        GuardViolation(Caller, paged ? "paged pool freed above APC_LEVEL" : "pool freed above DISPATCH_LEVEL",
                       VERIFIER_VIOLATION, paged ? 0x11 : 0x12, irql, record->Type, at);
    }
    GuardCheckAround(Caller, record);
    GuardRetireBlock(record, GuardCheckFreed(Caller, at, at + record->Size, record->Type));
    return TRUE;
}

VOID NTAPI GuardExFreePool(PVOID Block) {
    if (!Release(CALLER, Block, 0)) {
        REAL(ExFreePoolWithTag)(Block, 0);
    }
}

VOID NTAPI GuardExFreePoolWithTag(PVOID Block, ULONG Tag) {
    if (!Release(CALLER, Block, Tag)) {
        REAL(ExFreePoolWithTag)(Block, Tag);
    }
}

/* Their blocks come from the guard, too, and go back to it when the list is deleted. */
VOID NTAPI GuardExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST List, PALLOCATE_FUNCTION Allocate,
                                                PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
                                                USHORT Depth) {
    REAL(ExInitializeNPagedLookasideList)
    (List, Allocate ? Allocate : GuardExAllocatePoolWithTag, Free ? Free : GuardExFreePool, Flags, Size, Tag, Depth);
}

VOID NTAPI GuardExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST List, PALLOCATE_FUNCTION Allocate,
                                               PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag, USHORT Depth) {
    REAL(ExInitializePagedLookasideList)
    (List, Allocate ? Allocate : GuardExAllocatePoolWithTag, Free ? Free : GuardExFreePool, Flags, Size, Tag, Depth);
}

/* Accesses the address on the guest, which must not be taken for the driver's own access. */
BOOLEAN NTAPI GuardMmIsAddressValid(PVOID Address) {
    GUARD_PAGE page = GuardPageOf((ULONG_PTR)Address);

    return page == GuardPageForeign ? REAL(MmIsAddressValid)(Address) : page == GuardPageBlock;
}

GUARD_IMPORT(ExAllocatePool);
GUARD_IMPORT(ExAllocatePool2);
GUARD_IMPORT(ExAllocatePoolWithQuota);
GUARD_IMPORT(ExAllocatePoolWithQuotaTag);
GUARD_IMPORT(ExAllocatePoolWithTag);
GUARD_IMPORT(ExAllocatePoolWithTagPriority);
GUARD_IMPORT(ExFreePool);
GUARD_IMPORT(ExFreePoolWithTag);
GUARD_IMPORT(ExInitializeNPagedLookasideList);
GUARD_IMPORT(ExInitializePagedLookasideList);
GUARD_IMPORT(MmIsAddressValid);
