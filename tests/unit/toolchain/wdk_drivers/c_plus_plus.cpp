#include <ntddk.h>
void *operator new(size_t n) {
    return ExAllocatePool2(POOL_FLAG_PAGED, n, 1);
}
void operator delete(void *p) {
    ExFreePool(p);
}
struct Big {
    int a[4];
};
static long Code(ULONG c) {
    switch (c) {
        case STATUS_ACCESS_DENIED:
            return 1;
    }
    return 0;
}
extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT, PUNICODE_STRING) {
    WCHAR text[8];
    wcscpy_s(text, L"hi");
    auto big = new Big;
    delete big;
    return Code(text[0]);
}
