"""Small drivers as people write them for Visual C++ and the WDK: source text by name."""

ENTRY = "NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { (void)p; d->DriverUnload = Unload; return 0; }\n"
UNLOAD = "VOID Unload(PDRIVER_OBJECT d) { (void)d; PAGED_CODE(); }\n"
PLAIN = "#include <ntddk.h>\nDRIVER_UNLOAD Unload;\n" + UNLOAD + ENTRY

ONE_FILE = {
    "plain": ("t.c", PLAIN),
    "alloc_text": (
        "t.c",
        "#include <ntddk.h>\nDRIVER_INITIALIZE DriverEntry;\nDRIVER_UNLOAD Unload;\n#ifdef ALLOC_PRAGMA\n"
        "#pragma alloc_text(INIT, DriverEntry)\n#pragma alloc_text(PAGE, Unload)\n#endif\n" + ENTRY + UNLOAD,
    ),
    "c_plus_plus": (
        "t.cpp",
        "#include <ntddk.h>\nvoid *operator new(size_t n) { return ExAllocatePool2(POOL_FLAG_PAGED, n, 1); }\n"
        "void operator delete(void *p) { ExFreePool(p); }\nstruct Big { int a[4]; };\n"
        "static long Code(ULONG c) { switch (c) { case STATUS_ACCESS_DENIED: return 1; } return 0; }\n"
        'extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT, PUNICODE_STRING) {\n'
        '  WCHAR text[8]; wcscpy_s(text, L"hi"); auto big = new Big; delete big; return Code(text[0]); }\n',
    ),
    "headers_in_any_case": (
        "t.c",
        "#include <Ntddk.h>\n#include <dontuse.h>\n#include <suppress.h>\n#include <NtStrSafe.h>\n"
        + PLAIN.partition("\n")[2],
    ),
    "what_mingw_lacks": (
        "t.c",
        "#define POOL_NX_OPTIN 1\n#include <ntddk.h>\n_Dispatch_type_(IRP_MJ_CREATE) DRIVER_DISPATCH Create;\n"
        "IO_CSQ_INSERT_IRP Insert;\nULONG64 a = POOL_FLAG_PAGED; ULONG b = MdlMappingNoExecute;\n"
        "NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { PVOID m; (void)d; (void)p;\n"
        "  ExInitializeDriverRuntime(DrvRtPoolNxOptIn);\n"
        "  C_ASSERT(NonPagedPool == 512);\n"
        "  try { *(volatile int *)16 = 0; } except (EXCEPTION_EXECUTE_HANDLER) { return GetExceptionCode(); }\n"
        "  m = ExAllocatePoolZero(NonPagedPool, 8, 'tset'); ExFreePoolWithTag(m, 'tset'); return 0; }\n",
    ),
    "msvc_preprocessor": (
        "t.c",
        "#include <ntddk.h>\n#define Say(Format, ...) DbgPrintEx(0, 0, Format, __VA_ARGS__)\n"
        'NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { (void)d; (void)p; Say("x\\n"); return 0; }\n',
    ),
    "wdmsec": (
        "t.c",
        "#include <ntddk.h>\n#include <wdmsec.h>\nNTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {\n"
        "  PDEVICE_OBJECT o; (void)p; return IoCreateDeviceSecure(d, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE,\n"
        "    &SDDL_DEVOBJ_SYS_ALL_ADM_ALL, NULL, &o); }\n",
    ),
    "minifilter": (
        "t.c",
        "#include <fltKernel.h>\nC_ASSERT(sizeof(FLT_REGISTRATION) == 0x70);\n"
        "C_ASSERT(FIELD_OFFSET(FLT_CALLBACK_DATA, IoStatus) == 0x18);\n"
        "C_ASSERT(FIELD_OFFSET(FLT_IO_PARAMETER_BLOCK, Parameters) == 0x18);\n"
        "static PFLT_FILTER filter;\nstatic const FLT_OPERATION_REGISTRATION none[] = {{IRP_MJ_OPERATION_END}};\n"
        "static const FLT_REGISTRATION registration = {sizeof(registration), FLT_REGISTRATION_VERSION, 0, 0, none};\n"
        "NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { (void)p;\n"
        "  return FltRegisterFilter(d, &registration, &filter); }\n",
    ),
    "object_types": (
        "t.c",
        "#include <ntddk.h>\nNTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { (void)d; (void)p;\n"
        "  return *PsProcessType == 0; }\n",
    ),
}
