#define POOL_NX_OPTIN 1
#include <ntddk.h>
_Dispatch_type_(IRP_MJ_CREATE) DRIVER_DISPATCH Create;
IO_CSQ_INSERT_IRP Insert;
ULONG64 a = POOL_FLAG_PAGED;
ULONG b = MdlMappingNoExecute;
const TCHAR c[] = TEXT("both widths");
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    PVOID m;
    (void)d;
    (void)p;
    ExInitializeDriverRuntime(DrvRtPoolNxOptIn);
    C_ASSERT(NonPagedPool == 512);
    try {
        *(volatile int *)16 = 0;
    }
    except(EXCEPTION_EXECUTE_HANDLER) {
        return GetExceptionCode();
    }
    m = ExAllocatePoolZero(NonPagedPool, 8, 'tset');
    ExFreePoolWithTag(m, 'tset');
    return 0;
}
