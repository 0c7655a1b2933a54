/*
 * guard.h - what the parts of the guard share. The guard stands between a driver and the kernel on a guest without
 * Driver Verifier: it defines the import slots (__imp_Name) of the routines that it watches, so that the linker
 * resolves the driver's calls to it, and it reaches the kernel's own routines by MmGetSystemRoutineAddress.
 *
 * A violation is a bugcheck with the code and parameters that Driver Verifier uses. What cannot be known is not judged:
 * a thread that the kernel called in a way that the guard does not see has an unknown IRQL.
 */
#pragma once

#include <intrin.h>
/* mingw-w64's wdm.h defines these again. */
#define InterlockedBitTestAndSet WdmInterlockedBitTestAndSet
#define InterlockedBitTestAndReset WdmInterlockedBitTestAndReset
#include <ntifs.h>
#undef InterlockedBitTestAndSet
#undef InterlockedBitTestAndReset
#include <stddef.h>

#include "instrument.h"

/* What mingw-w64's driver kit does not declare. */
typedef struct GUARD_FUNCTION {
    ULONG Begin;
    ULONG End;
    ULONG Unwind;
} GUARD_FUNCTION;
NTKERNELAPI GUARD_FUNCTION *NTAPI RtlLookupFunctionEntry(ULONG64 Address, PULONG64 Base, PVOID History);
NTKERNELAPI PVOID NTAPI RtlVirtualUnwind(ULONG Type, ULONG64 Base, ULONG64 Address, GUARD_FUNCTION *Function,
                                         PCONTEXT Context, PVOID *Data, PULONG64 Frame, PVOID Registers);
NTKERNELAPI VOID NTAPI RtlCaptureContext(PCONTEXT Context);
NTSYSCALLAPI VOID NTAPI RtlRaiseStatus(NTSTATUS Status);
NTSYSCALLAPI NTSTATUS NTAPI ZwYieldExecution(VOID);

#define GUARD_FRAMES 6
#define GUARD_HELD_LIMIT 12

/* Verifier's codes; parameters are those of Microsoft's bug check reference. */
#define SPECIAL_POOL_MISUSE 0xC1
#define BAD_POOL_CALL 0xC2
#define VERIFIER_VIOLATION 0xC4
#define TIMER_OR_DPC_INVALID_CODE 0xC7
#define VERIFIER_IO_VIOLATION 0xC9
#define LEFT_LOCKED_PAGES 0xCB
#define UNLOADED_WITH_PENDING 0xCE
#define FAULT_IN_FREED_POOL 0xD5
#define FAULT_BEYOND_POOL 0xD6
#define WORKER_MISUSE 0xE4
#define DOUBLE_COMPLETION 0x44
#define PAGED_CODE_AT_RAISED_IRQL 0xD1

/* Where the driver called from; the innermost frame first, 0 behind the last. */
typedef struct GUARD_SITE {
    ULONG_PTR Frames[GUARD_FRAMES];
} GUARD_SITE;

typedef enum GUARD_LOCK_KIND {
    GuardSpinLock,
    GuardQueuedSpinLock,
    GuardCancelLock,
    GuardFastMutex,
    GuardResource,
} GUARD_LOCK_KIND;

typedef struct GUARD_HELD {
    PVOID Lock;
    ULONG Kind;
    BOOLEAN Shared;
    ULONG Count;
    KIRQL Irql; /* before it was acquired */
    ULONG_PTR Site;
} GUARD_HELD;

/* A thread that is inside the driver, or holds something of it. */
typedef struct GUARD_THREAD {
    volatile LONG Used;
    LONG Depth; /* calls into the driver that the guard has seen; its IRQL is known while there is one */
    KIRQL Irql;
    LONG Critical;  /* KeEnterCriticalRegion without KeLeaveCriticalRegion */
    BOOLEAN Unsure; /* whether APCs are enabled is not known: a mutex or a guarded region */
    ULONG HeldCount;
    GUARD_HELD Held[GUARD_HELD_LIMIT];
} GUARD_THREAD;

/* What GuardEnter replaced, for GuardLeave. */
typedef struct GUARD_CALL {
    GUARD_THREAD *Thread;
    LONG Depth;
    KIRQL Irql;
} GUARD_CALL;

/* guard.c */
extern volatile LONG GuardOn; /* whether calls are judged: from before DriverEntry until after DriverUnload */
extern PDRIVER_OBJECT GuardDriver;

/* guard_real.c: the kernel's own routines, by number; NULL where this kernel lacks one. */
/* clang-format off */
#define GUARD_ROUTINES(X) \
    X(ExAcquireFastMutex) X(ExAcquireFastMutexUnsafe) X(ExAcquireResourceExclusiveLite) \
    X(ExAcquireResourceSharedLite) X(ExAcquireSharedStarveExclusive) X(ExAcquireSharedWaitForExclusive) \
    X(ExAllocatePool) X(ExAllocatePool2) X(ExAllocatePoolWithQuotaTag) X(ExAllocatePoolWithTag) \
    X(ExAllocatePoolWithTagPriority) X(ExDeleteResourceLite) X(ExFreePool) X(ExFreePoolWithTag) \
    X(ExInitializeNPagedLookasideList) X(ExInitializePagedLookasideList) X(ExInitializeResourceLite) \
    X(ExReleaseFastMutex) X(ExReleaseFastMutexUnsafe) X(ExReleaseResourceForThreadLite) \
    X(ExReleaseResourceLite) X(IoAcquireCancelSpinLock) X(IoAcquireRemoveLockEx) X(IoAllocateIrp) \
    X(IoAllocateMdl) X(IoAllocateWorkItem) X(IoCancelIrp) X(IoCreateDevice) X(IoCreateSymbolicLink) \
    X(IoCreateUnprotectedSymbolicLink) X(IoDeleteDevice) X(IoDeleteSymbolicLink) X(IoFreeIrp) X(IoFreeMdl) \
    X(IoFreeWorkItem) X(IoInitializeRemoveLockEx) X(IoQueueWorkItem) X(IoReleaseCancelSpinLock) \
    X(IoReleaseRemoveLockAndWaitEx) X(IoReleaseRemoveLockEx) X(IofCallDriver) X(IofCompleteRequest) \
    X(KeAcquireInStackQueuedSpinLock) X(KeAcquireInStackQueuedSpinLockAtDpcLevel) X(KeAcquireSpinLockAtDpcLevel) \
    X(KeAcquireSpinLockRaiseToDpc) X(KeCancelTimer) X(KeDelayExecutionThread) X(KeEnterCriticalRegion) \
    X(KeEnterGuardedRegion) X(KeInitializeDpc) X(KeInsertQueueDpc) X(KeLeaveCriticalRegion) \
    X(KeReleaseInStackQueuedSpinLock) X(KeReleaseInStackQueuedSpinLockFromDpcLevel) X(KeReleaseSpinLock) \
    X(KeReleaseSpinLockFromDpcLevel) X(KeSetEvent) X(KeSetTimer) X(KeSetTimerEx) X(KeWaitForMultipleObjects) \
    X(KeWaitForSingleObject) X(MmIsAddressValid) X(MmLockPagableDataSection) X(MmMapLockedPagesSpecifyCache) \
    X(MmProbeAndLockPages) X(MmUnlockPages) X(MmUnmapLockedPages) X(ObReferenceObjectByHandle) \
    X(ObfDereferenceObject) X(PsCreateSystemThread) X(PsTerminateSystemThread) X(RtlRaiseStatus)
/* clang-format on */
#define GUARD_NUMBER(name) GuardReal_##name,
enum { GUARD_ROUTINES(GUARD_NUMBER) GuardRealCount };
extern PVOID GuardReals[GuardRealCount];
#define REAL(name) ((__typeof__(&name))GuardReals[GuardReal_##name])

VOID GuardFindRoutines(VOID);
VOID GuardFindLimited(VOID);                 /* guard_irql.c */
PVOID GuardExport(PCSTR Module, PCSTR Name); /* of a module of this process; NULL without it */

/* Makes `Guard<name>` what the driver's calls of `name` reach, by import slot or directly. */
#define GUARD_IMPORT(name)                                                                                          \
    __asm__(".section .rdata,\"dr\"\n\t.p2align 3\n\t.globl __imp_" #name "\n__imp_" #name ":\n\t.quad Guard" #name \
            "\n\t.globl " #name "\n\t.set " #name ", Guard" #name "\n\t.text\n")

#define CALLER ((ULONG_PTR)__builtin_return_address(0))

/* guard_report.c */
DECLSPEC_NORETURN VOID GuardViolation(ULONG_PTR Caller, PCSTR What, ULONG Code, ULONG_PTR First, ULONG_PTR Second,
                                      ULONG_PTR Third, ULONG_PTR Fourth);
/* The place is where the first thing that was left behind came from. */
DECLSPEC_NORETURN VOID GuardViolationLeft(ULONG_PTR Routine, PCSTR What, ULONG Code, ULONG_PTR First, ULONG_PTR Second,
                                          ULONG_PTR Third, ULONG_PTR Fourth);
DECLSPEC_NORETURN VOID GuardViolationAt(const CONTEXT *Context, PCSTR What, ULONG Code, ULONG_PTR First,
                                        ULONG_PTR Second, ULONG_PTR Third);
VOID GuardSite(ULONG_PTR Caller, GUARD_SITE *Site);
VOID GuardNothingLeft(VOID); /* what was printed as left is not what GuardViolationLeft is about */
VOID GuardPrintLeft(PCSTR What, ULONG_PTR Address, ULONGLONG Bytes, ULONG Tag, const GUARD_SITE *Site);
BOOLEAN GuardInImage(ULONG_PTR Address);
BOOLEAN GuardInPagedCode(ULONG_PTR Address);
VOID GuardImage(ULONG_PTR *Start, ULONG_PTR *End);

/* guard_thread.c */
VOID GuardThreadsBegin(VOID);
VOID GuardThreadsEnd(VOID);
GUARD_THREAD *GuardThread(BOOLEAN Create);
VOID GuardIdle(GUARD_THREAD *Thread); /* forgets a thread that is not in the driver and holds nothing */
GUARD_CALL GuardEnter(KIRQL Irql);
GUARD_CALL GuardEnterAsIs(VOID); /* at the IRQL that the thread has */
GUARD_CALL GuardEnterUnknown(VOID);
VOID GuardLeave(const GUARD_CALL *Call);
BOOLEAN GuardIrql(KIRQL *Irql); /* FALSE if it is not known */
VOID GuardLock(VOID);
VOID GuardUnlock(VOID);

/* guard_irql.c: at the start of a routine that may be called up to an IRQL at most. */
VOID GuardAtMost(ULONG_PTR Caller, KIRQL Most, PCSTR Routine, ULONG Kind, ULONG_PTR Third, ULONG_PTR Fourth);

/* guard_irql.c: pageable code that runs at DISPATCH_LEVEL; not once the driver has locked a pageable section. */
VOID GuardNotPaged(ULONG_PTR Caller);
VOID GuardPagedBegin(VOID);

/* guard_fault.c */
VOID GuardFaultsBegin(VOID);
VOID GuardFaultsEnd(VOID);

/* guard_arena.c */
typedef enum GUARD_PAGE { GuardPageForeign, GuardPageBlock, GuardPageBeyond, GuardPageFreed } GUARD_PAGE;
typedef struct GUARD_BLOCK {
    PUCHAR Block;
    SIZE_T Size;
    ULONG Page;  /* first in the arena */
    ULONG Pages; /* with the one that cannot be accessed */
    ULONG Tag;
    ULONG Type;
    BOOLEAN Live;
    BOOLEAN Freeing;
    ULONGLONG Born; /* its number among all allocations */
    ULONG Next;     /* free record */
    GUARD_SITE Site;
} GUARD_BLOCK;
VOID GuardPoolBegin(VOID);
VOID GuardPoolEnd(VOID);
GUARD_PAGE GuardPageOf(ULONG_PTR Address);
GUARD_BLOCK *GuardBlockOf(ULONG_PTR Address); /* the block that is, or was, there; NULL without one */
PVOID GuardTakeBlock(ULONG_PTR Caller, ULONG Type, SIZE_T Size, ULONG Tag, BOOLEAN Zero);
VOID GuardRetireBlock(GUARD_BLOCK *Block, BOOLEAN Keep); /* Keep: it stays accessible for a while */
VOID GuardCheckAround(ULONG_PTR Caller, const GUARD_BLOCK *Block);
VOID GuardPoolDescribe(ULONG_PTR Address); /* prints the block that is, or was, there */
ULONG GuardPoolLeft(VOID);                 /* prints what is still allocated, returns how many */
VOID GuardPoolMark(VOID);
VOID GuardPoolKept(VOID); /* prints what was allocated since the mark, and is still */

/* guard_pool.c */
PVOID NTAPI GuardExAllocatePoolWithTag(POOL_TYPE Type, SIZE_T Size, ULONG Tag);
VOID NTAPI GuardExFreePool(PVOID Block);
VOID NTAPI GuardExFreePoolWithTag(PVOID Block, ULONG Tag);

/* guard_fail.c */
VOID GuardFailPlan(ULONGLONG Argument);
BOOLEAN GuardFails(ULONG_PTR Caller); /* whether this allocation is made to fail */

/* guard_locks.c */
VOID GuardAcquiring(ULONG_PTR Caller, PVOID Lock, ULONG Kind, BOOLEAN Shared);
KIRQL GuardAcquired(ULONG_PTR Caller, PVOID Lock, ULONG Kind, BOOLEAN Shared, KIRQL Irql);
KIRQL GuardReleased(ULONG_PTR Caller, PVOID Lock, ULONG Kind, KIRQL Otherwise);
VOID GuardReleasedIfHeld(PVOID Lock);
VOID GuardSetIrql(KIRQL Irql);
VOID GuardForgetLocks(ULONG_PTR Start, ULONG_PTR End);

/* guard_mutex.c */
VOID GuardRegionUnsure(VOID);

/* guard_irp.c */
VOID GuardWrapDispatch(PDRIVER_OBJECT DriverObject);
ULONG GuardIrpsLeft(VOID);
LONG GuardFilesOpen(VOID);

/* guard_timers.c */
VOID GuardTimersBegin(VOID);
/* Returns whether a timer or DPC was there. */
BOOLEAN GuardCheckFreed(ULONG_PTR Caller, ULONG_PTR Start, ULONG_PTR End, ULONG Type);
VOID GuardTimersLeft(ULONG_PTR Unload);

/* guard_work.c */
VOID GuardWorkBegin(VOID);
ULONG GuardWorkLeft(VOID);

/* guard_objects.c */
VOID GuardObjectsBegin(VOID);
ULONG GuardObjectsLeft(PDRIVER_OBJECT DriverObject);

/* guard_references.c */
VOID GuardReferencesBegin(VOID);
VOID GuardCheckResources(ULONG_PTR Caller, ULONG_PTR Start, ULONG_PTR End, ULONG Type);
ULONG GuardReferencesLeft(VOID);

/* guard_freed.c: objects of the kernel that the driver has freed, until their address is given out again. */
VOID GuardGiven(PVOID Object);
VOID GuardFreed(ULONG_PTR Caller, PVOID Object, PCSTR What); /* a violation if it is freed already */

/* guard_mdl.c */
VOID GuardMdlsBegin(VOID);
ULONG GuardMdlsLeft(VOID);
VOID GuardMdlsGiven(PIRP Irp); /* the I/O manager frees the MDLs of an IRP */
