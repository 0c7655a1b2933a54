#include <ntddk.h>
DRIVER_UNLOAD Unload;
VOID Unload(PDRIVER_OBJECT d) {
    (void)d;
    PAGED_CODE();
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)p;
    d->DriverUnload = Unload;
    return 0;
}
