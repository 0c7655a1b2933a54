/*
 * coverage.c - the run-time half of clang's source-based coverage: where the counters are, read by the channel while
 * the driver runs, and recorded when its image goes. Sections:
 * https://clang.llvm.org/docs/SourceBasedCodeCoverage.html.
 *
 * The compiler puts the counters into .lprfc$M; the linker sorts by what follows the dollar sign, so that the two
 * variables here are the section's ends. Names, records and mappings are read from the image on the host.
 */
#include "instrument.h"

/* Each instrumented object refers to it, so that a linker would fetch LLVM's own run-time library. */
int __llvm_profile_runtime;

__attribute__((section(".lprfc$A"), used)) static volatile ULONGLONG First = 0;
__attribute__((section(".lprfc$Z"), used)) static volatile ULONGLONG End = 0;

/* llvm-cov leaves out the first byte of the names in a linked PE file: in LLVM's run-time library it is a zero. */
__attribute__((section(".lprfn$A"), used)) static const char BeforeNames = 0;

ULONGLONG WinvmCounterBytes(VOID) {
    return (ULONGLONG)((ULONG_PTR)(&End + 1) - (ULONG_PTR)&First);
}

static ULONG ReadCounters(ULONGLONG Offset, PVOID Buffer, ULONG Length) {
    return WinvmCopyPart((const VOID *)(ULONG_PTR)&First, WinvmCounterBytes(), Offset, Buffer, Length);
}

static VOID Record(VOID) {
    NTSTATUS status = WinvmRecord(WINVM_PART_COUNTERS, (const VOID *)(ULONG_PTR)&First, WinvmCounterBytes());

    if (!NT_SUCCESS(status)) {
        DbgPrint("winvm: instrument: the counters are not recorded, status 0x%08X\n", (ULONG)status);
    }
}

VOID WinvmCoverageBegin(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    WinvmChannelAdd(WINVM_PART_COUNTERS, ReadCounters);
}

VOID WinvmCoverageEntered(PDRIVER_OBJECT DriverObject, NTSTATUS Status) {
    UNREFERENCED_PARAMETER(DriverObject);
    if (!NT_SUCCESS(Status)) {
        Record();
    }
}

VOID WinvmCoverageUnloaded(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    Record();
}
