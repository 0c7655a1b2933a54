// ntdef.h first, annotations of the first generation, and names that Windows' headers leave to the driver.
#include <ntdef.h>
#include <ntifs.h>
typedef NTSTATUS(NTAPI *QUERY)(__in HANDLE, __in PROCESSINFOCLASS, __out PVOID, __in ULONG, __out_opt PULONG);
static QUERY ZwQueryInformationProcess;
static ULONG_PTR PTE_BASE, PDE_BASE, PPE_BASE, PXE_BASE;
extern "C" NTSTATUS DriverEntry(__in PDRIVER_OBJECT, __in PUNICODE_STRING) {
    REPARSE_DATA_BUFFER reparse = {};
    PTE_BASE = PDE_BASE = PPE_BASE = PXE_BASE = reparse.ReparseTag;
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"ZwQueryInformationProcess");
    ZwQueryInformationProcess = (QUERY)MmGetSystemRoutineAddress(&name);
    return ZwQueryInformationProcess ? STATUS_SUCCESS : STATUS_NOT_FOUND;
}
