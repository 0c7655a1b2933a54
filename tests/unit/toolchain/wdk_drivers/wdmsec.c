#include <ntddk.h>
#include <wdmsec.h>
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    PDEVICE_OBJECT o;
    (void)p;
    return IoCreateDeviceSecure(d, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &SDDL_DEVOBJ_SYS_ALL_ADM_ALL, NULL, &o);
}
