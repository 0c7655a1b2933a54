#include <wdm.h>
#include <string.h>

struct DECLSPEC_NOVTABLE Port {
    virtual DECLSPEC_NOTHROW NTSTATUS Init(PCWSTR Name) = 0;
};
struct Speaker final : Port {
    WCHAR Name[8];
    NTSTATUS Init(PCWSTR Text) override { return wcscpy_s(Name, Text) ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS; }
};
static Speaker Only;

extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT, PUNICODE_STRING Path) {
    Port *port = &Only;
    return port->Init(Path->Buffer);
}
