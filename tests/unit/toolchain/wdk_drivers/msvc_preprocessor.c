#include <ntddk.h>
#define Say(Format, ...) DbgPrintEx(0, 0, Format, __VA_ARGS__)
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)d;
    (void)p;
    Say("x\n");
    return 0;
}
