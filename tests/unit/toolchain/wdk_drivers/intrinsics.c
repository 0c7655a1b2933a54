/* Privileged instructions by Visual C++'s intrinsics. */
#include <ntddk.h>
#include <intrin.h>

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    ULONG64 all = __readmsr(0x10) ^ __readcr0() ^ __readcr3() ^ __readcr4() ^ __readpmc(0) ^ __readdr(7);
    UCHAR table[10];

    UNREFERENCED_PARAMETER(Driver);
    UNREFERENCED_PARAMETER(Path);
    __sidt(table);
    _sgdt(table);
    if (all == 1) {
        __writemsr(0x10, all);
        __writecr4(all);
        __writedr(7, all);
        __wbinvd();
        _disable();
        __halt();
    }
    return (NTSTATUS)(__segmentlimit(0x2b) ^ table[0]);
}
