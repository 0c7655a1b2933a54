/*
 * sync.c - \Device\LySharkSync: direct read of five strings, each handle at its own position.
 */
#include "winvm.h"

#define STRING_COUNT 5
#define STRING_LENGTH ((LONG)sizeof(WINVM_SYNC_TEXT_A) - 1)

static const char *const Strings[STRING_COUNT] = {
    WINVM_SYNC_TEXT_A, WINVM_SYNC_TEXT_B, WINVM_SYNC_TEXT_C, WINVM_SYNC_TEXT_D, WINVM_SYNC_TEXT_E,
};

_Static_assert(sizeof(WINVM_SYNC_TEXT_B) - 1 == STRING_LENGTH, "the strings are equally long");
_Static_assert(STRING_LENGTH <= WINVM_SYNC_READ_LIMIT, "one read can take a whole string");

typedef struct SYNC_FILE {
    LONG Position; /* 0 .. STRING_COUNT * STRING_LENGTH, over all strings */
} SYNC_FILE;

static WINVM_PAGED NTSTATUS Read(_Inout_ WINVM_REQUEST *Request) {
    SYNC_FILE *file = WINVM_FILE_STATE(SYNC_FILE, Request->File);
    ULONG length = Request->Stack->Parameters.Read.Length;
    LONG position;
    LONG count;

    PAGED_CODE();
    if (length == 0) {
        return STATUS_SUCCESS; /* there is no MDL */
    }
    PVOID to = MmGetSystemAddressForMdlSafe(Request->Irp->MdlAddress, NormalPagePriority | MdlMappingNoExecute);
    if (to == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    do {
        /* Overlapped reads of one handle run at once: each claims its bytes before it copies them. */
        position = file->Position;
        count = 0;
        if (position < STRING_COUNT * STRING_LENGTH) {
            count = min((LONG)min(length, WINVM_SYNC_READ_LIMIT), STRING_LENGTH - position % STRING_LENGTH);
        }
    } while (InterlockedCompareExchange(&file->Position, position + count, position) != position);
    if (count != 0) {
        RtlCopyMemory(to, Strings[position / STRING_LENGTH] + position % STRING_LENGTH, count);
    }
    Request->Information = count;
    DbgPrint("winvm: LySharkSync: read %d bytes at %d\n", count, position);
    return STATUS_SUCCESS;
}

const WINVM_CLASS WinvmSyncClass = {
    .Name = "LySharkSync",
    .DeviceName = WINVM_DEVICE_NAME_SYNC,
    .LinkName = WINVM_LINK_NAME_SYNC,
    .IoFlags = DO_DIRECT_IO,
    .FileStateSize = sizeof(SYNC_FILE),
    .Read = Read,
};
