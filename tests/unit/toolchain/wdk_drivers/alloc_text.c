#include <ntddk.h>
DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD Unload;
#ifdef ALLOC_PRAGMA
#pragma alloc_text(INIT, DriverEntry)
#pragma alloc_text(PAGE, Unload)
#endif
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)p;
    d->DriverUnload = Unload;
    return 0;
}
VOID Unload(PDRIVER_OBJECT d) {
    (void)d;
    PAGED_CODE();
}
