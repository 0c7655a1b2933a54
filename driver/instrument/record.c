/*
 * record.c - records that outlive the image: the driver's memory is gone once its unload routine has returned, or its
 * entry point has failed, and what it did there is read from this file by the guest's agent.
 */
#include "instrument.h"

#define PATH_LIMIT 200

static WCHAR PathBuffer[PATH_LIMIT];
static UNICODE_STRING Path = {0, sizeof(PathBuffer), PathBuffer};

VOID WinvmRecordName(PCUNICODE_STRING Service) {
    RtlAppendUnicodeToString(&Path, L"\\??\\C:\\winvm\\run\\");
    RtlAppendUnicodeStringToString(&Path, Service);
    RtlAppendUnicodeToString(&Path, L".instrument");
}

NTSTATUS WinvmRecord(ULONG Part, const VOID *Content, ULONGLONG Size) {
    WINVM_RECORD record = {WINVM_INSTRUMENT_MAGIC, Part, WinvmInstance, Size};
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK block;
    HANDLE file;

    if (Size > MAXLONG) {
        return STATUS_INVALID_PARAMETER;
    }
    InitializeObjectAttributes(&attributes, &Path, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    NTSTATUS status =
        ZwCreateFile(&file, FILE_APPEND_DATA | SYNCHRONIZE, &attributes, &block, NULL, FILE_ATTRIBUTE_NORMAL, 0,
                     FILE_OPEN_IF, FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE, NULL, 0);
    if (!NT_SUCCESS(status)) {
        DbgPrint("winvm: instrument: %.*ws cannot be opened, status 0x%08X\n", (int)(Path.Length / sizeof(WCHAR)),
                 Path.Buffer, (ULONG)status);
        return status;
    }
    status = ZwWriteFile(file, NULL, NULL, NULL, &block, &record, sizeof(record), NULL, NULL);
    if (NT_SUCCESS(status)) {
        status = ZwWriteFile(file, NULL, NULL, NULL, &block, (PVOID)(ULONG_PTR)Content, (ULONG)Size, NULL, NULL);
    }
    ZwClose(file);
    return status;
}
