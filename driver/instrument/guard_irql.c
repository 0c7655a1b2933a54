/*
 * guard_irql.c - the highest IRQL at which a routine may be called, as data, and the waits. Most routines of the table
 * are reached by a stub that compares and goes on to the kernel's routine with its arguments untouched.
 */
#include "guard.h"

/* Routine, highest IRQL, header of its page: https://learn.microsoft.com/windows-hardware/drivers/ddi/<header>/
   nf-<header>-<routine in lower case>. */
/* clang-format off */
#define LIMITED(X) \
    X(IoAttachDevice, 0, wdm) X(IoAttachDeviceToDeviceStack, 2, wdm) X(IoBuildDeviceIoControlRequest, 1, wdm) \
    X(IoBuildSynchronousFsdRequest, 1, wdm) X(IoCreateFile, 0, wdm) X(IoCreateNotificationEvent, 0, wdm) \
    X(IoCreateSynchronizationEvent, 0, wdm) X(IoGetDeviceObjectPointer, 0, wdm) X(IoGetDeviceProperty, 0, wdm) \
    X(IoOpenDeviceRegistryKey, 0, wdm) X(IoRegisterDeviceInterface, 0, wdm) X(IoSetDeviceInterfaceState, 0, wdm) \
    X(KeReleaseMutex, 2, wdm) X(KeReleaseSemaphore, 2, wdm) X(MmAllocateContiguousMemory, 2, wdm) \
    X(PsLookupProcessByProcessId, 1, ntifs) X(PsLookupThreadByThreadId, 1, ntifs) \
    X(PsSetCreateProcessNotifyRoutine, 0, ntddk) \
    X(PsSetLoadImageNotifyRoutine, 0, ntddk) X(RtlAnsiStringToUnicodeString, 0, wdm) \
    X(RtlCheckRegistryKey, 0, wdm) X(RtlCompareUnicodeString, 0, wdm) X(RtlConvertSidToUnicodeString, 1, ntifs) \
    X(RtlCreateRegistryKey, 0, wdm) X(RtlDeleteRegistryValue, 0, wdm) X(RtlEqualUnicodeString, 0, wdm) \
    X(RtlIntegerToUnicodeString, 0, wdm) X(RtlQueryRegistryValues, 0, wdm) \
    X(RtlUnicodeStringToAnsiString, 0, wdm) X(RtlUnicodeStringToInteger, 0, wdm) \
    X(RtlUpcaseUnicodeString, 1, ntddk) X(RtlWriteRegistryValue, 0, wdm) X(ProbeForRead, 1, wdm) \
    X(ProbeForWrite, 1, wdm) X(ZwClose, 0, wdm) X(ZwCreateFile, 0, wdm) X(ZwCreateKey, 0, wdm) \
    X(ZwCreateSection, 0, wdm) X(ZwDeleteKey, 0, wdm) X(ZwDeleteValueKey, 0, wdm) X(ZwEnumerateKey, 0, wdm) \
    X(ZwEnumerateValueKey, 0, wdm) X(ZwMapViewOfSection, 0, wdm) X(ZwOpenFile, 0, wdm) X(ZwOpenKey, 0, wdm) \
    X(ZwOpenProcess, 0, ntddk) X(ZwQueryInformationFile, 0, wdm) X(ZwQueryKey, 0, wdm) \
    X(ZwQueryValueKey, 0, wdm) X(ZwReadFile, 0, wdm) X(ZwSetInformationFile, 0, wdm) X(ZwSetValueKey, 0, wdm) \
    X(ZwUnmapViewOfSection, 0, wdm) X(ZwWriteFile, 0, wdm)
/* clang-format on */

typedef struct LIMIT {
    PCSTR Name;
    PCWSTR WideName;
    KIRQL Most;
} LIMIT;

#define ROW(name, most, header) {#name, L## #name, most},
static const LIMIT Limits[] = {LIMITED(ROW)};
__attribute__((used)) PVOID GuardLimitedReals[ARRAYSIZE(Limits)];
#define NUMBER(name, most, header) Limit_##name,
enum { LIMITED(NUMBER) LimitCount };

VOID GuardFindLimited(VOID) {
    for (ULONG i = 0; i < LimitCount; i++) {
        UNICODE_STRING name;

        RtlInitUnicodeString(&name, Limits[i].WideName);
        GuardLimitedReals[i] = MmGetSystemRoutineAddress(&name);
    }
}

static VOID TooHigh(ULONG_PTR Caller, PCSTR Routine, KIRQL Irql) {
    DbgPrint("winvm-guard: %s called at IRQL %u\n", Routine, Irql);
    if (Routine[0] == 'Z' && Routine[1] == 'w') {
        GuardViolation(Caller, "Zw routine called above PASSIVE_LEVEL", VERIFIER_VIOLATION, 0xE6, Caller, Irql, 0);
    }
    GuardViolation(Caller, "routine called above the IRQL that it allows", VERIFIER_VIOLATION, 0xE5, Irql, 0, 0);
}

static BOOLEAN PagedLocked;

VOID GuardPagedBegin(VOID) {
    PagedLocked = FALSE;
}

PVOID NTAPI GuardMmLockPagableDataSection(PVOID Address) {
    PagedLocked = TRUE;
    return REAL(MmLockPagableDataSection)(Address);
}

VOID GuardNotPaged(ULONG_PTR Caller) {
    KIRQL irql;

    if (!PagedLocked && GuardIrql(&irql) && irql >= DISPATCH_LEVEL && GuardInPagedCode(Caller)) {
        GuardViolation(Caller, "pageable code runs at DISPATCH_LEVEL", PAGED_CODE_AT_RAISED_IRQL, Caller, irql, 8,
                       Caller);
    }
}

__attribute__((used)) VOID GuardLimit(ULONG Number, ULONG_PTR Caller) {
    KIRQL irql;

    GuardNotPaged(Caller);
    if (GuardIrql(&irql) && irql > Limits[Number].Most) {
        TooHigh(Caller, Limits[Number].Name, irql);
    }
}

/* A stub keeps the registers of arguments; what lies on the stack stays where it is. */
#define STUB(name, most, header)                                                                                 \
    __asm__(".text\n\t.globl Guard" #name "\n\t.seh_proc Guard" #name "\nGuard" #name                            \
            ":\n\t"                                                                                              \
            "subq $0x68, %rsp\n\t.seh_stackalloc 0x68\n\t.seh_endprologue\n\t"                                   \
            "movq %rcx, 0x20(%rsp)\n\tmovq %rdx, 0x28(%rsp)\n\tmovq %r8, 0x30(%rsp)\n\tmovq %r9, 0x38(%rsp)\n\t" \
            "movl $WINVM_NUMBER_" #name                                                                          \
            ", %ecx\n\tmovq 0x68(%rsp), %rdx\n\tcall GuardLimit\n\t"                                             \
            "movq 0x20(%rsp), %rcx\n\tmovq 0x28(%rsp), %rdx\n\tmovq 0x30(%rsp), %r8\n\tmovq 0x38(%rsp), %r9\n\t" \
            "leaq GuardLimitedReals(%rip), %rax\n\tmovq 8*WINVM_NUMBER_" #name                                   \
            "(%rax), %rax\n\t"                                                                                   \
            "addq $0x68, %rsp\n\tjmp *%rax\n\t.seh_endproc\n");                                                  \
    GUARD_IMPORT(name);

__asm__(".set WINVM_NEXT, 0\n");
#define COUNT(name, most, header) __asm__(".set WINVM_NUMBER_" #name ", WINVM_NEXT\n.set WINVM_NEXT, WINVM_NEXT + 1\n");
LIMITED(COUNT)
LIMITED(STUB)

VOID GuardAtMost(ULONG_PTR Caller, KIRQL Most, PCSTR Routine, ULONG Kind, ULONG_PTR Third, ULONG_PTR Fourth) {
    KIRQL irql;

    GuardNotPaged(Caller);
    if (GuardIrql(&irql) && irql > Most) {
        DbgPrint("winvm-guard: %s called at IRQL %u\n", Routine, irql);
        GuardViolation(Caller, "routine called above the IRQL that it allows", VERIFIER_VIOLATION, Kind, irql, Third,
                       Fourth);
    }
}

#define MUTANT 2 /* type of a KMUTEX, whose owner runs with APCs disabled */

static VOID CheckWait(ULONG_PTR Caller, ULONG_PTR Object, const LARGE_INTEGER *Timeout) {
    KIRQL irql;
    BOOLEAN waits = Timeout == NULL || Timeout->QuadPart != 0;

    if (GuardIrql(&irql) && (irql > DISPATCH_LEVEL || (irql == DISPATCH_LEVEL && waits))) {
        GuardViolation(Caller, "wait at DISPATCH_LEVEL or above", VERIFIER_VIOLATION, 0x3B, irql, Object,
                       (ULONG_PTR)Timeout);
    }
}

NTSTATUS NTAPI GuardKeWaitForSingleObject(PVOID Object, KWAIT_REASON Reason, KPROCESSOR_MODE Mode, BOOLEAN Alertable,
                                          PLARGE_INTEGER Timeout) {
    CheckWait(CALLER, (ULONG_PTR)Object, Timeout);
    if (((DISPATCHER_HEADER *)Object)->Type == MUTANT) {
        GuardRegionUnsure();
    }
    return REAL(KeWaitForSingleObject)(Object, Reason, Mode, Alertable, Timeout);
}

NTSTATUS NTAPI GuardKeWaitForMultipleObjects(ULONG Count, PVOID Objects[], WAIT_TYPE Type, KWAIT_REASON Reason,
                                             KPROCESSOR_MODE Mode, BOOLEAN Alertable, PLARGE_INTEGER Timeout,
                                             PKWAIT_BLOCK Blocks) {
    CheckWait(CALLER, (ULONG_PTR)Objects[0], Timeout);
    GuardRegionUnsure(); /* one of them may be a mutex */
    return REAL(KeWaitForMultipleObjects)(Count, Objects, Type, Reason, Mode, Alertable, Timeout, Blocks);
}

NTSTATUS NTAPI GuardKeDelayExecutionThread(KPROCESSOR_MODE Mode, BOOLEAN Alertable, PLARGE_INTEGER Interval) {
    GuardAtMost(CALLER, APC_LEVEL, "KeDelayExecutionThread", 0x3B, 0, (ULONG_PTR)Interval);
    return REAL(KeDelayExecutionThread)(Mode, Alertable, Interval);
}

LONG NTAPI GuardKeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait) {
    GuardAtMost(CALLER, DISPATCH_LEVEL, "KeSetEvent", 0x80, (ULONG_PTR)Event, 0);
    return REAL(KeSetEvent)(Event, Increment, Wait);
}

GUARD_IMPORT(KeDelayExecutionThread);
GUARD_IMPORT(KeSetEvent);
GUARD_IMPORT(KeWaitForMultipleObjects);
GUARD_IMPORT(KeWaitForSingleObject);
GUARD_IMPORT(MmLockPagableDataSection);
