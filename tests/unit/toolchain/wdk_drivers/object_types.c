#include <ntddk.h>
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)d;
    (void)p;
    return *PsProcessType == 0 || *ExDesktopObjectType == 0;
}
