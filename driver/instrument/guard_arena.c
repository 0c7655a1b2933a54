/*
 * guard_arena.c - where the driver's pool lies: every block ends against a page that cannot be accessed, a freed one
 * cannot be accessed at all until its pages are needed again, and what is around a block is compared when it is freed.
 * Alignment is the pool's: 16 bytes, and a page from PAGE_SIZE on.
 */
#include "guard.h"

#define ARENA_PAGES 131072u /* 512 MiB of addresses */
#define RECORDS 32768u
#define LIVE_LIMIT 12000u /* two mappings each, of the 65,530 that Linux gives a process */
#define BLOCK_LIMIT (64u << 20)
#define FILL_LIMIT 65536u /* bytes that a new block is filled up to */
#define NEVER (~0ULL)
#define KEPT_LIMIT 64u /* blocks that are told after a scenario */
#define ALLOCATED_FILL 0xDA
#define AROUND_FILL 0xE5
#define RAISE_IF_FAILURE 16
#define ZERO_ALLOCATION 1024

#define KEPT_BLOCKS 16u

/* Freed, and not yet decommitted. */
typedef struct KEPT {
    GUARD_BLOCK *Record;
    ULONGLONG Born;
} KEPT;

static KEPT Kept[KEPT_BLOCKS];
static ULONG KeptNext;
static PUCHAR Arena;
static ULONG *Owner; /* by page: 1 + record, 0 for a page that was never used */
static GUARD_BLOCK *Records;
static ULONG FreeRecord, FreshRecord, Cursor, Live;
static ULONGLONG Born;
static ULONGLONG Marked = NEVER; /* the last allocation before the scenario */

static PVOID Reserve(SIZE_T Bytes, ULONG How, ULONG Protect) {
    PVOID base = NULL;
    SIZE_T size = Bytes;

    return NT_SUCCESS(ZwAllocateVirtualMemory(ZwCurrentProcess(), &base, 0, &size, How, Protect)) ? base : NULL;
}

VOID GuardPoolBegin(VOID) {
    Owner = Reserve(ARENA_PAGES * sizeof(*Owner), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    Records = Reserve(RECORDS * sizeof(*Records), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    Arena = Owner && Records ? Reserve((SIZE_T)ARENA_PAGES * PAGE_SIZE, MEM_RESERVE, PAGE_NOACCESS) : NULL;
    FreeRecord = FreshRecord = Cursor = Live = KeptNext = 0;
    RtlZeroMemory(Kept, sizeof(Kept));
    if (Arena == NULL) {
        DbgPrint("winvm-guard: no memory for guarded pool: overruns and use after free are not seen\n");
    }
}

static VOID Give(PVOID Base) {
    SIZE_T size = 0;

    if (Base) {
        ZwFreeVirtualMemory(ZwCurrentProcess(), &Base, &size, MEM_RELEASE);
    }
}

VOID GuardPoolEnd(VOID) {
    PVOID arena = Arena;

    Arena = NULL;
    Give(arena);
    Give(Owner);
    Give(Records);
}

GUARD_BLOCK *GuardBlockOf(ULONG_PTR Address) {
    ULONG_PTR page = (Address - (ULONG_PTR)Arena) / PAGE_SIZE;

    if (Arena == NULL || Address < (ULONG_PTR)Arena || page >= ARENA_PAGES || Owner[page] == 0) {
        return NULL;
    }
    return &Records[Owner[page] - 1];
}

GUARD_PAGE GuardPageOf(ULONG_PTR Address) {
    const GUARD_BLOCK *record = GuardBlockOf(Address);

    if (Arena == NULL || Address - (ULONG_PTR)Arena >= (ULONG_PTR)ARENA_PAGES * PAGE_SIZE) {
        return GuardPageForeign;
    }
    if (record == NULL) {
        return GuardPageBeyond;
    }
    if (!record->Live) {
        return GuardPageFreed;
    }
    return Address < (ULONG_PTR)Arena + (ULONG_PTR)(record->Page + record->Pages - 1) * PAGE_SIZE ? GuardPageBlock
                                                                                                  : GuardPageBeyond;
}

VOID GuardPoolDescribe(ULONG_PTR Address) {
    const GUARD_BLOCK *record = GuardBlockOf(Address);

    if (record == NULL && Address >= PAGE_SIZE) { /* before a block: the page that ends the one before it */
        record = GuardBlockOf(Address + PAGE_SIZE);
    }
    if (record && record->Block) {
        GuardPrintLeft(record->Live ? "block" : "freed block", (ULONG_PTR)record->Block, record->Size, record->Tag,
                       &record->Site);
    }
}

/* Takes pages that hold no live block, the longest unused first; forgets the freed blocks that were there. */
static BOOLEAN TakePages(ULONG Pages, ULONG *First) {
    ULONG found = 0;

    for (ULONG seen = 0; seen < ARENA_PAGES + Pages; seen++) {
        if (Cursor == ARENA_PAGES) {
            Cursor = found = 0;
        }
        ULONG owner = Owner[Cursor++];
        if (owner && Records[owner - 1].Live) {
            ULONG end = Records[owner - 1].Page + Records[owner - 1].Pages;
            seen += end - Cursor;
            Cursor = end;
            found = 0;
        } else if (++found == Pages) {
            *First = Cursor - Pages;
            return TRUE;
        }
    }
    return FALSE;
}

static VOID Forget(ULONG First, ULONG Pages) {
    for (ULONG page = First; page < First + Pages; page++) {
        ULONG owner = Owner[page];
        if (owner) {
            GUARD_BLOCK *record = &Records[owner - 1];
            for (ULONG i = record->Page; i < record->Page + record->Pages; i++) {
                Owner[i] = 0;
            }
            record->Next = FreeRecord;
            FreeRecord = owner;
        }
    }
}

static GUARD_BLOCK *NewRecord(ULONG Pages) {
    ULONG first;

    if (Live >= LIVE_LIMIT || (FreeRecord == 0 && FreshRecord == RECORDS) || !TakePages(Pages, &first)) {
        return NULL;
    }
    Forget(first, Pages);
    ULONG number = FreeRecord;
    if (number) {
        FreeRecord = Records[number - 1].Next;
    } else if (FreshRecord < RECORDS) {
        number = ++FreshRecord;
    } else {
        return NULL;
    }
    GUARD_BLOCK *record = &Records[number - 1];
    record->Page = first;
    record->Pages = Pages;
    record->Live = TRUE;
    record->Freeing = FALSE;
    record->Born = ++Born;
    record->Block = NULL;
    record->Size = 0;
    for (ULONG i = first; i < first + Pages; i++) {
        Owner[i] = number;
    }
    Live++;
    return record;
}

static VOID Decommit(const GUARD_BLOCK *Record) {
    PVOID base = Arena + (SIZE_T)Record->Page * PAGE_SIZE;
    SIZE_T size = (SIZE_T)(Record->Pages - 1) * PAGE_SIZE;

    ZwFreeVirtualMemory(ZwCurrentProcess(), &base, &size, MEM_DECOMMIT);
}

/* Wine's timers touch a timer and its DPC after the DPC routine has returned, when the driver may rightly have freed
   both: such a block goes when a few more of them have been freed. */
static VOID DecommitLater(GUARD_BLOCK *Record) {
    GuardLock();
    KEPT old = Kept[KeptNext];
    Kept[KeptNext] = (KEPT){Record, Record->Born};
    KeptNext = (KeptNext + 1) % KEPT_BLOCKS;
    BOOLEAN same = old.Record != NULL && !old.Record->Live && old.Record->Born == old.Born;
    GuardUnlock();
    if (same) {
        Decommit(old.Record);
    }
}

VOID GuardRetireBlock(GUARD_BLOCK *Record, BOOLEAN Keep) {
    if (!Keep) {
        Decommit(Record);
    }
    GuardLock();
    Record->Live = FALSE;
    Live--;
    GuardUnlock();
    if (Keep) {
        DecommitLater(Record);
    }
}

static VOID Fill(PUCHAR At, SIZE_T Size, UCHAR Byte) {
    __stosb(At, Byte, Size);
}

PVOID GuardTakeBlock(ULONG_PTR Caller, ULONG Type, SIZE_T Size, ULONG Tag, BOOLEAN Zero) {
    ULONG data = (ULONG)((Size + PAGE_SIZE - 1) / PAGE_SIZE);

    if (Arena == NULL || Size > BLOCK_LIMIT) {
        return NULL;
    }
    GuardLock();
    GUARD_BLOCK *record = NewRecord(data + 1);
    GuardUnlock();
    if (record == NULL) {
        return NULL;
    }
    PVOID base = Arena + (SIZE_T)record->Page * PAGE_SIZE;
    SIZE_T bytes = (SIZE_T)data * PAGE_SIZE;
    BOOLEAN executable = (Type & ~(ULONG)(RAISE_IF_FAILURE | ZERO_ALLOCATION | 8)) == NonPagedPool;
    if (!NT_SUCCESS(ZwAllocateVirtualMemory(ZwCurrentProcess(), &base, 0, &bytes, MEM_COMMIT,
                                            executable ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE))) {
        GuardRetireBlock(record, FALSE);
        return NULL;
    }
    PUCHAR start = base;
    PUCHAR end = start + (SIZE_T)data * PAGE_SIZE;
    PUCHAR block = Size >= PAGE_SIZE ? start : (PUCHAR)((ULONG_PTR)(end - Size) & ~(ULONG_PTR)15);
    Fill(start, (SIZE_T)(block - start), AROUND_FILL);
    Fill(block + Size, (SIZE_T)(end - block) - Size, AROUND_FILL);
    if (!Zero) { /* new pages are zero */
        Fill(block, Size < FILL_LIMIT ? Size : FILL_LIMIT, ALLOCATED_FILL);
    }
    record->Size = Size;
    record->Tag = Tag;
    record->Type = Type;
    GuardSite(Caller, &record->Site);
    record->Block = block; /* last: a block without it is not there yet */
    return block;
}

VOID GuardCheckAround(ULONG_PTR Caller, const GUARD_BLOCK *Record) {
    PUCHAR start = Arena + (SIZE_T)Record->Page * PAGE_SIZE;
    PUCHAR end = start + (SIZE_T)(Record->Pages - 1) * PAGE_SIZE;
    ULONG_PTR block = (ULONG_PTR)Record->Block;

    for (PUCHAR at = Record->Block; at-- > start;) {
        if (*at != AROUND_FILL) {
            GuardPoolDescribe(block);
            GuardViolation(Caller, "bytes before a pool block were overwritten", SPECIAL_POOL_MISUSE, block,
                           (ULONG_PTR)at, 0, 0x23);
        }
    }
    for (PUCHAR at = Record->Block + Record->Size; at < end; at++) {
        if (*at != AROUND_FILL) {
            GuardPoolDescribe(block);
            GuardViolation(Caller, "bytes behind a pool block were overwritten", SPECIAL_POOL_MISUSE, block,
                           (ULONG_PTR)at, 0, 0x24);
        }
    }
}

static VOID Print(PCSTR What, const GUARD_BLOCK *Block) {
    GuardPrintLeft(What, (ULONG_PTR)Block->Block, Block->Size, Block->Tag, &Block->Site);
}

ULONG GuardPoolLeft(VOID) {
    ULONG count = 0;

    for (ULONG i = 0; i < FreshRecord; i++) {
        if (Records[i].Live && Records[i].Block) {
            count++;
            Print("pool", &Records[i]);
        }
    }
    return count;
}

VOID GuardPoolMark(VOID) {
    Marked = Born;
}

VOID GuardPoolKept(VOID) {
    ULONG printed = 0;

    for (ULONG i = 0; Marked != NEVER && i < FreshRecord && printed < KEPT_LIMIT; i++) {
        if (Records[i].Live && Records[i].Block && Records[i].Born > Marked) {
            printed++;
            Print("kept", &Records[i]);
        }
    }
    Marked = NEVER;
}
