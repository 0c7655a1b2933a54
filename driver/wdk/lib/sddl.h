/* Puts the discretionary access control list of a security descriptor string on a device object. */
#pragma once

/* STATUS_INVALID_PARAMETER: the string has an unsupported element. Call at PASSIVE_LEVEL, in DriverEntry. */
NTSTATUS WinvmSecureDevice(PDEVICE_OBJECT Device, PCUNICODE_STRING Sddl);
