/*
 * lyshark.c - \Device\LySharkDriver: buffered read of a fixed text and buffered write to the log; one handle at a time.
 */
#include "winvm.h"

#define GREETING_LENGTH ((ULONG)sizeof(WINVM_GREETING) - 1)

static WINVM_PAGED NTSTATUS Read(_Inout_ WINVM_REQUEST *Request) {
    /* Information also bounds what the I/O manager copies out of its uninitialised system buffer. */
    ULONG count = min(Request->Stack->Parameters.Read.Length, GREETING_LENGTH);

    PAGED_CODE();
    RtlCopyMemory(Request->Irp->AssociatedIrp.SystemBuffer, WINVM_GREETING, count);
    Request->Information = count;
    DbgPrint("winvm: LySharkDriver: read %u of %u bytes\n", count, Request->Stack->Parameters.Read.Length);
    return STATUS_SUCCESS;
}

static WINVM_PAGED NTSTATUS Write(_Inout_ WINVM_REQUEST *Request) {
    ULONG length = Request->Stack->Parameters.Write.Length;

    PAGED_CODE();
    WinvmLogText("LySharkDriver", "write", Request->Irp->AssociatedIrp.SystemBuffer, length);
    Request->Information = length;
    return STATUS_SUCCESS;
}

const WINVM_CLASS WinvmLySharkClass = {
    .Name = "LySharkDriver",
    .DeviceName = WINVM_DEVICE_NAME_LYSHARK,
    .LinkName = WINVM_LINK_NAME_LYSHARK,
    .IoFlags = DO_BUFFERED_IO,
    .Exclusive = TRUE,
    .Read = Read,
    .Write = Write,
};
