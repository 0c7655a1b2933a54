/*
 * device_security.c - puts an explicit DACL on a device object.
 *
 * IoCreateDeviceSecure lives in wdmsec.lib, which only the WDK has; setting the DACL through a handle before
 * DriverEntry returns (until then the I/O manager refuses opens) has the same effect.
 */
#include "winvm.h"

#define ACL_BYTES 128
#define SID_BYTES 16 /* fits two sub-authorities */

_IRQL_requires_max_(PASSIVE_LEVEL) static WINVM_INIT NTSTATUS
    AllowNtAuthority(_Inout_ PACL Acl, _In_ ACCESS_MASK Access, _In_ ULONG First, _In_ ULONG Second) {
    SID_IDENTIFIER_AUTHORITY authority = {SECURITY_NT_AUTHORITY};
    UCHAR bytes[SID_BYTES] __attribute__((aligned(8)));
    PSID sid = bytes;

    NTSTATUS status = RtlInitializeSid(sid, &authority, Second ? 2 : 1);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    *RtlSubAuthoritySid(sid, 0) = First;
    if (Second) {
        *RtlSubAuthoritySid(sid, 1) = Second;
    }
    return RtlAddAccessAllowedAce(Acl, ACL_REVISION, Access, sid);
}

_IRQL_requires_max_(PASSIVE_LEVEL) NTSTATUS
    WINVM_INIT WinvmSecureDevice(_In_ PDEVICE_OBJECT DeviceObject, _In_ BOOLEAN AdministratorsOnly) {
    UCHAR bytes[ACL_BYTES] __attribute__((aligned(8)));
    PACL acl = (PACL)bytes;
    SECURITY_DESCRIPTOR descriptor;
    HANDLE handle;

    NTSTATUS status = RtlCreateAcl(acl, sizeof(bytes), ACL_REVISION);
    if (NT_SUCCESS(status)) {
        status = AllowNtAuthority(acl, GENERIC_ALL, SECURITY_LOCAL_SYSTEM_RID, 0);
    }
    if (NT_SUCCESS(status)) {
        status = AllowNtAuthority(acl, GENERIC_ALL, SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS);
    }
    if (NT_SUCCESS(status) && !AdministratorsOnly) {
        status = AllowNtAuthority(acl, GENERIC_READ | GENERIC_WRITE, SECURITY_AUTHENTICATED_USER_RID, 0);
    }
    if (NT_SUCCESS(status)) {
        status = RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);
    }
    if (NT_SUCCESS(status)) {
        status = RtlSetDaclSecurityDescriptor(&descriptor, TRUE, acl, FALSE);
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = ObOpenObjectByPointer(DeviceObject, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
    ZwClose(handle);
    return status;
}
