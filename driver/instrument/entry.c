/*
 * entry.c - the entry point of an instrumented image: runs the parts' hooks around the driver's own entry point, and
 * puts itself in place of the driver's unload routine.
 */
#include "instrument.h"

/* The driver's own entry point, whatever its name: DriverEntry, GsDriverEntry, FxDriverEntry. */
DRIVER_INITIALIZE WinvmOwnEntry;
DRIVER_INITIALIZE WinvmInstrumentedEntry;

ULONGLONG WinvmInstance;
static PDRIVER_UNLOAD OwnUnload;

static ULONG ReadIdentity(ULONGLONG Offset, PVOID Buffer, ULONG Length) {
    WINVM_IDENTITY identity = {WINVM_INSTRUMENT_MAGIC, WINVM_INSTRUMENT_VERSION, WinvmInstance, 0};

#ifdef WINVM_COVERAGE
    identity.CounterBytes = WinvmCounterBytes();
#endif
    return WinvmCopyPart(&identity, sizeof(identity), Offset, Buffer, Length);
}

/* The last part of the service's registry path. */
static UNICODE_STRING ServiceName(PCUNICODE_STRING RegistryPath) {
    UNICODE_STRING name = {0, 0, NULL};

    if (RegistryPath != NULL && RegistryPath->Buffer != NULL) {
        USHORT end = RegistryPath->Length / sizeof(WCHAR);
        USHORT start = end;
        while (start > 0 && RegistryPath->Buffer[start - 1] != L'\\') {
            start--;
        }
        name.Buffer = RegistryPath->Buffer + start;
        name.Length = name.MaximumLength = (USHORT)((end - start) * sizeof(WCHAR));
    }
    return name;
}

static VOID NTAPI InstrumentedUnload(PDRIVER_OBJECT DriverObject) {
#ifdef WINVM_GUARD
    WinvmGuardUnloading(DriverObject);
#endif
    OwnUnload(DriverObject);
#ifdef WINVM_GUARD
    WinvmGuardUnloaded(DriverObject);
#endif
#ifdef WINVM_COVERAGE
    WinvmCoverageUnloaded(DriverObject);
#endif
    WinvmChannelClose();
}

NTSTATUS NTAPI WinvmInstrumentedEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    UNICODE_STRING service = ServiceName(RegistryPath);
    LARGE_INTEGER now;

    KeQuerySystemTime(&now);
    WinvmInstance = (ULONGLONG)now.QuadPart;
    WinvmRecordName(&service);
    WinvmChannelAdd(WINVM_PART_IDENTITY, ReadIdentity);
#ifdef WINVM_COVERAGE
    WinvmCoverageBegin(DriverObject);
#endif
#ifdef WINVM_GUIDANCE
    WinvmGuidanceBegin();
#endif
#ifdef WINVM_GUARD
    WinvmGuardBegin(DriverObject);
#endif
    NTSTATUS status = WinvmOwnEntry(DriverObject, RegistryPath);
#ifdef WINVM_GUARD
    WinvmGuardEntered(DriverObject, status);
#endif
#ifdef WINVM_COVERAGE
    WinvmCoverageEntered(DriverObject, status);
#endif
    if (NT_SUCCESS(status)) {
        NTSTATUS opened = WinvmChannelOpen(&service);
        if (!NT_SUCCESS(opened)) {
            DbgPrint("winvm: instrument: the channel cannot be opened, status 0x%08X\n", (ULONG)opened);
        }
        /* A driver without an unload routine cannot be unloaded, and must stay so. */
        if (DriverObject->DriverUnload != NULL) {
            OwnUnload = DriverObject->DriverUnload;
            DriverObject->DriverUnload = InstrumentedUnload;
        }
    }
    return status;
}
