/* wdmsec.lib: devices with a security descriptor of their own. A WDK links these routines into the driver.
   https://learn.microsoft.com/windows-hardware/drivers/kernel/controlling-device-access */
#include <ntddk.h>
#include <wdmsec.h>

#include "sddl.h"

#define DESCRIPTOR(name, text) const UNICODE_STRING name = RTL_CONSTANT_STRING(text)

DESCRIPTOR(SDDL_DEVOBJ_KERNEL_ONLY, L"D:P");
DESCRIPTOR(SDDL_DEVOBJ_SYS_ALL, L"D:P(A;;GA;;;SY)");
DESCRIPTOR(SDDL_DEVOBJ_SYS_ALL_ADM_ALL, L"D:P(A;;GA;;;SY)(A;;GA;;;BA)");
DESCRIPTOR(SDDL_DEVOBJ_SYS_ALL_ADM_RX, L"D:P(A;;GA;;;SY)(A;;GRGX;;;BA)");
DESCRIPTOR(SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_R, L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GR;;;WD)");
DESCRIPTOR(SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_R_RES_R, L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GR;;;WD)(A;;GR;;;RC)");
DESCRIPTOR(SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_RW_RES_R, L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GRGW;;;WD)(A;;GR;;;RC)");
DESCRIPTOR(SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_RWX_RES_RWX,
           L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GRGWGX;;;WD)(A;;GRGWGX;;;RC)");

NTSTATUS WdmlibRtlInitUnicodeStringEx(PUNICODE_STRING String, PCWSTR Source) {
    SIZE_T length = Source ? wcslen(Source) * sizeof(WCHAR) : 0;
    if (length > MAXUSHORT - sizeof(WCHAR)) return STATUS_NAME_TOO_LONG;
    String->Buffer = (PWSTR)Source;
    String->Length = (USHORT)length;
    String->MaximumLength = (USHORT)(Source ? length + sizeof(WCHAR) : 0);
    return STATUS_SUCCESS;
}

NTSTATUS WdmlibIoValidateDeviceIoControlAccess(PIRP Irp, ULONG RequiredAccess) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG granted = FILE_ANY_ACCESS;
    if (RequiredAccess & ~(FILE_READ_ACCESS | FILE_WRITE_ACCESS)) return STATUS_INVALID_PARAMETER;
    if (stack->MajorFunction != IRP_MJ_DEVICE_CONTROL && stack->MajorFunction != IRP_MJ_FILE_SYSTEM_CONTROL)
        return STATUS_INVALID_PARAMETER;
    if (Irp->RequestorMode == KernelMode || !stack->FileObject) return STATUS_SUCCESS;
    if (stack->FileObject->ReadAccess) granted |= FILE_READ_ACCESS;
    if (stack->FileObject->WriteAccess) granted |= FILE_WRITE_ACCESS;
    return (granted & RequiredAccess) == RequiredAccess ? STATUS_SUCCESS : STATUS_ACCESS_DENIED;
}

/* Until DriverEntry returns, and while DO_DEVICE_INITIALIZING is set, nobody can open the device: the list is there in
   time. A setting of the device class in the registry, which Windows' own routine prefers, is not looked up. */
NTSTATUS WdmlibIoCreateDeviceSecure(PDRIVER_OBJECT Driver, ULONG ExtensionSize, PUNICODE_STRING Name, DEVICE_TYPE Type,
                                    ULONG Characteristics, BOOLEAN Exclusive, PCUNICODE_STRING Sddl, LPCGUID Class,
                                    PDEVICE_OBJECT *Device) {
    NTSTATUS status = IoCreateDevice(Driver, ExtensionSize, Name, Type, Characteristics | FILE_DEVICE_SECURE_OPEN, Exclusive,
                                     Device);
    (void)Class;
    if (!NT_SUCCESS(status)) return status;
    status = WinvmSecureDevice(*Device, Sddl);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(*Device);
        *Device = NULL;
    }
    return status;
}
