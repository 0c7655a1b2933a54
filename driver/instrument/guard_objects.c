/*
 * guard_objects.c - devices and symbolic links that the driver creates and must delete before it is unloaded.
 */
#include "guard.h"

#define LINKS 128u
#define LINK_LENGTH 96u

typedef struct LINK {
    USHORT Length; /* 0 for none */
    WCHAR Name[LINK_LENGTH];
    GUARD_SITE Site;
} LINK;

static LINK Links[LINKS];

VOID GuardObjectsBegin(VOID) {
    RtlZeroMemory(Links, sizeof(Links));
}

NTSTATUS NTAPI GuardIoCreateDevice(PDRIVER_OBJECT DriverObject, ULONG Size, PUNICODE_STRING Name, DEVICE_TYPE Type,
                                   ULONG Characteristics, BOOLEAN Exclusive, PDEVICE_OBJECT *DeviceObject) {
    GuardAtMost(CALLER, APC_LEVEL, "IoCreateDevice", 0xE5, 0, 0);
    return REAL(IoCreateDevice)(DriverObject, Size, Name, Type, Characteristics, Exclusive, DeviceObject);
}

VOID NTAPI GuardIoDeleteDevice(PDEVICE_OBJECT DeviceObject) {
    GuardAtMost(CALLER, APC_LEVEL, "IoDeleteDevice", 0xE5, 0, 0);
    if (GuardOn && DeviceObject->DeviceExtension != NULL && DeviceObject->DriverObject == GuardDriver) {
        ULONG_PTR start = (ULONG_PTR)DeviceObject->DeviceExtension;
        /* The size includes that of the device object. */
        GuardCheckFreed(CALLER, start, start + DeviceObject->Size - sizeof(DEVICE_OBJECT), (ULONG)-1);
    }
    REAL(IoDeleteDevice)(DeviceObject);
}

/* The last part of a name: \\DosDevices, \\?? and \\GLOBAL?? are the same directory. */
static UNICODE_STRING Last(PCUNICODE_STRING Name) {
    USHORT start = Name->Length / sizeof(WCHAR);

    while (start > 0 && Name->Buffer[start - 1] != L'\\') {
        start--;
    }
    USHORT length = (USHORT)(Name->Length - start * sizeof(WCHAR));
    return (UNICODE_STRING){length, length, Name->Buffer + start};
}

static BOOLEAN IsLink(const LINK *Link, PCUNICODE_STRING Name) {
    UNICODE_STRING known = {Link->Length, Link->Length, (PWSTR)(ULONG_PTR)Link->Name};
    UNICODE_STRING one = Last(&known);
    UNICODE_STRING other = Last(Name);

    if (one.Length != other.Length) {
        return FALSE;
    }
    for (USHORT i = 0; i < one.Length / sizeof(WCHAR); i++) {
        if (RtlUpcaseUnicodeChar(one.Buffer[i]) != RtlUpcaseUnicodeChar(other.Buffer[i])) {
            return FALSE;
        }
    }
    return TRUE;
}

static VOID RememberLink(ULONG_PTR Caller, PCUNICODE_STRING Name) {
    GUARD_SITE site;

    if (Name->Length > sizeof(Links[0].Name)) {
        return;
    }
    GuardSite(Caller, &site);
    GuardLock();
    for (ULONG i = 0; i < LINKS; i++) {
        if (Links[i].Length == 0) {
            Links[i].Length = Name->Length;
            RtlCopyMemory(Links[i].Name, Name->Buffer, Name->Length);
            Links[i].Site = site;
            break;
        }
    }
    GuardUnlock();
}

NTSTATUS NTAPI GuardIoCreateSymbolicLink(PUNICODE_STRING Name, PUNICODE_STRING Target) {
    GuardAtMost(CALLER, PASSIVE_LEVEL, "IoCreateSymbolicLink", 0xE5, 0, 0);
    NTSTATUS status = REAL(IoCreateSymbolicLink)(Name, Target);
    if (GuardOn && NT_SUCCESS(status)) {
        RememberLink(CALLER, Name);
    }
    return status;
}

NTSTATUS NTAPI GuardIoCreateUnprotectedSymbolicLink(PUNICODE_STRING Name, PUNICODE_STRING Target) {
    GuardAtMost(CALLER, PASSIVE_LEVEL, "IoCreateUnprotectedSymbolicLink", 0xE5, 0, 0);
    NTSTATUS status = REAL(IoCreateUnprotectedSymbolicLink)(Name, Target);
    if (GuardOn && NT_SUCCESS(status)) {
        RememberLink(CALLER, Name);
    }
    return status;
}

NTSTATUS NTAPI GuardIoDeleteSymbolicLink(PUNICODE_STRING Name) {
    GuardAtMost(CALLER, PASSIVE_LEVEL, "IoDeleteSymbolicLink", 0xE5, 0, 0);
    GuardLock();
    for (ULONG i = 0; i < LINKS; i++) {
        if (Links[i].Length && IsLink(&Links[i], Name)) {
            Links[i].Length = 0;
        }
    }
    GuardUnlock();
    return REAL(IoDeleteSymbolicLink)(Name);
}

/* Devices and symbolic links that the unload routine should have deleted; returns how many. */
ULONG GuardObjectsLeft(PDRIVER_OBJECT DriverObject) {
    ULONG count = 0;

    for (ULONG i = 0; i < LINKS; i++) {
        if (Links[i].Length) {
            count++;
            DbgPrint("winvm-guard: symbolic link %.*ws\n", Links[i].Length / 2, Links[i].Name);
            GuardPrintLeft("symbolic link", (ULONG_PTR)Links[i].Name, 0, 0, &Links[i].Site);
        }
    }
    for (PDEVICE_OBJECT device = DriverObject->DeviceObject; device; device = device->NextDevice) {
        GUARD_SITE site = {{0}};
        count++;
        GuardPrintLeft("device", (ULONG_PTR)device, 0, 0, &site);
    }
    return count;
}

GUARD_IMPORT(IoCreateDevice);
GUARD_IMPORT(IoCreateSymbolicLink);
GUARD_IMPORT(IoCreateUnprotectedSymbolicLink);
GUARD_IMPORT(IoDeleteDevice);
GUARD_IMPORT(IoDeleteSymbolicLink);
