// Routines that are newer than mingw-w64's headers: declared, and in the import library.
#include <ntifs.h>
static EX_SPIN_LOCK lock;
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    MEMORY_BASIC_INFORMATION region;
    PHYSICAL_ADDRESS at = {.QuadPart = 0xFEE00000};
    PVOID mapped = MmMapIoSpaceEx(at, UFIELD_OFFSET(MEMORY_BASIC_INFORMATION, State), PAGE_READWRITE);
    KIRQL before = ExAcquireSpinLockExclusive(&lock);
    C_ASSERT(sizeof(region) == 48);
    (void)d;
    (void)p;
    ExReleaseSpinLockExclusive(&lock, before);
    if (PsSetCreateProcessNotifyRoutineEx2(PsCreateProcessNotifySubsystems, mapped, TRUE))
        return STATUS_UNSUCCESSFUL;
    return ZwQueryVirtualMemory(ZwCurrentProcess(), mapped, MemoryBasicInformation, &region, sizeof(region), NULL);
}
