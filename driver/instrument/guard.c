/*
 * guard.c - the guard's hooks around the driver's entry point and unload routine, and what the channel reads of it.
 */
#include "guard.h"

volatile LONG GuardOn;
PDRIVER_OBJECT GuardDriver;

DRIVER_INITIALIZE WinvmOwnEntry;

static GUARD_CALL Call;
static ULONG_PTR Unload;

/* The agent's word that a scenario begins: Offset is the plan of allocations that fail. */
static ULONG ScenarioBegins(ULONGLONG Offset, PVOID Buffer, ULONG Length) {
    UNREFERENCED_PARAMETER(Buffer);
    UNREFERENCED_PARAMETER(Length);
    GuardPoolMark();
    GuardFailPlan(Offset);
    return 0;
}

static ULONG ScenarioEnds(ULONGLONG Offset, PVOID Buffer, ULONG Length) {
    UNREFERENCED_PARAMETER(Offset);
    UNREFERENCED_PARAMETER(Buffer);
    UNREFERENCED_PARAMETER(Length);
    GuardFailPlan(0);
    GuardPoolKept();
    return 0;
}

VOID WinvmGuardBegin(PDRIVER_OBJECT DriverObject) {
    GuardFindRoutines();
    GuardFindLimited();
    GuardDriver = DriverObject;
    GuardThreadsBegin();
    GuardPoolBegin();
    GuardTimersBegin();
    GuardWorkBegin();
    GuardObjectsBegin();
    GuardMdlsBegin();
    GuardReferencesBegin();
    GuardPagedBegin();
    GuardFaultsBegin();
    WinvmChannelAdd(WINVM_PART_GUARD_BEGIN, ScenarioBegins);
    WinvmChannelAdd(WINVM_PART_GUARD_END, ScenarioEnds);
    Call = GuardEnter(PASSIVE_LEVEL);
    InterlockedExchange(&GuardOn, 1);
}

/* What is left when the driver is no more. Its name is in the first parameter of Windows' bugcheck, too. */
static VOID CheckLeft(PDRIVER_OBJECT DriverObject, ULONG_PTR Routine, PCSTR When) {
    GuardNothingLeft();
    GuardTimersLeft(Routine);
    ULONG count =
        GuardWorkLeft() + GuardPoolLeft() + GuardMdlsLeft() + GuardReferencesLeft() + GuardObjectsLeft(DriverObject);

    if (count) {
        GuardViolationLeft(Routine, When, VERIFIER_VIOLATION, 0x62, (ULONG_PTR)&DriverObject->DriverName, 0, count);
    }
}

static VOID Judge(PDRIVER_OBJECT DriverObject, ULONG_PTR Routine, PCSTR When, PCSTR Irql) {
    KIRQL irql = Call.Thread ? Call.Thread->Irql : PASSIVE_LEVEL;

    if (irql != PASSIVE_LEVEL) {
        GuardViolation(Routine, Irql, 0xC8, ((ULONG_PTR)irql << 16) | 2, Routine, 0, 0);
    }
    if (When) {
        CheckLeft(DriverObject, Routine, When);
    }
    GuardLeave(&Call);
}

static VOID End(VOID) {
    InterlockedExchange(&GuardOn, 0);
    GuardFaultsEnd();
    GuardPoolEnd();
    GuardThreadsEnd();
}

VOID WinvmGuardEntered(PDRIVER_OBJECT DriverObject, NTSTATUS Status) {
    BOOLEAN failed = !NT_SUCCESS(Status);

    Unload = (ULONG_PTR)DriverObject->DriverUnload;
    Judge(DriverObject, (ULONG_PTR)WinvmOwnEntry, failed ? "DriverEntry failed and left something behind" : NULL,
          "DriverEntry returned at a raised IRQL");
    if (failed) {
        End();
    } else {
        GuardWrapDispatch(DriverObject);
    }
}

VOID WinvmGuardUnloading(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    Call = GuardEnter(PASSIVE_LEVEL);
}

VOID WinvmGuardUnloaded(PDRIVER_OBJECT DriverObject) {
    LONG files = GuardFilesOpen();
    PCSTR when = "driver unloaded that left something behind";

    GuardIrpsLeft();
    /* Windows unloads a driver when its last file is closed; Wine at once, without the close that frees what is left.
     */
    if (files > 0) {
        DbgPrint("winvm-guard: unloaded with %ld files open, as only Wine does: what is left is not judged\n", files);
        when = NULL;
    }
    Judge(DriverObject, Unload, when, "DriverUnload returned at a raised IRQL");
    End();
}
