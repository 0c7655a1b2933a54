/*
 * transfer.c - moves the data of a control request for all four transfer methods.
 *
 * "First" and "second" are DeviceIoControl's input and output buffer. User memory is touched only under SEH, only after
 * a probe of a non-zero length, and only once: what was taken is a copy that no other thread can change.
 */
#include "winvm.h"

/*
 * clang delivers an access violation to __except only when it happens inside a call, so the bytes are moved by a
 * function that cannot be inlined.
 */
static __attribute__((noinline)) VOID CopyBytes(PVOID To, const VOID *From, ULONG Size) {
    RtlCopyMemory(To, From, Size);
}

static NTSTATUS ReadUser(KPROCESSOR_MODE Mode, PVOID To, PVOID From, ULONG Size) {
    NTSTATUS status = STATUS_SUCCESS;

    __try {
        if (Mode != KernelMode) {
            ProbeForRead(From, Size, 1);
        }
        CopyBytes(To, From, Size);
    } __except (status = GetExceptionCode(), EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("winvm: user buffer %p cannot be read, status 0x%08X\n", From, status);
    }
    return status;
}

_Use_decl_annotations_ NTSTATUS WinvmWriteUser(KPROCESSOR_MODE Mode, PVOID To, const VOID *From, ULONG Size,
                                               ULONG Alignment) {
    NTSTATUS status = STATUS_SUCCESS;

    __try {
        if (Mode != KernelMode) {
            ProbeForWrite(To, Size, Alignment);
        }
        CopyBytes(To, From, Size);
    } __except (status = GetExceptionCode(), EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("winvm: user buffer %p cannot be written, status 0x%08X\n", To, status);
    }
    return status;
}

static ULONG Method(_In_ const WINVM_REQUEST *Request) {
    return Request->Stack->Parameters.DeviceIoControl.IoControlCode & 3;
}

static PVOID MapMdl(_In_ const WINVM_REQUEST *Request) {
    PMDL mdl = Request->Irp->MdlAddress;

    return mdl ? MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority | MdlMappingNoExecute) : NULL;
}

/* Copies the first Size bytes of the first buffer; STATUS_INFO_LENGTH_MISMATCH when it is shorter. */
_Use_decl_annotations_ NTSTATUS WinvmTakeFirst(const WINVM_REQUEST *Request, PVOID To, ULONG Size) {
    if (Size == 0 || WinvmFirstLength(Request) < Size) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    if (Method(Request) == METHOD_NEITHER) {
        return ReadUser(Request->Irp->RequestorMode, To, Request->Stack->Parameters.DeviceIoControl.Type3InputBuffer,
                        Size);
    }
    RtlCopyMemory(To, Request->Irp->AssociatedIrp.SystemBuffer, Size);
    return STATUS_SUCCESS;
}

/* Copies the first Size bytes of the second buffer, METHOD_IN_DIRECT's way to pass bulk input. */
_Use_decl_annotations_ NTSTATUS WinvmTakeSecond(const WINVM_REQUEST *Request, PVOID To, ULONG Size) {
    if (Size == 0 || WinvmSecondLength(Request) < Size) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    PVOID mapped = MapMdl(Request);
    if (mapped == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlCopyMemory(To, mapped, Size);
    return STATUS_SUCCESS;
}

/* Writes Size bytes to the second buffer; STATUS_BUFFER_TOO_SMALL when they do not fit. Sets Information. */
_Use_decl_annotations_ NTSTATUS WinvmGive(WINVM_REQUEST *Request, const VOID *From, ULONG Size) {
    NTSTATUS status = STATUS_SUCCESS;

    if (WinvmSecondLength(Request) < Size) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    if (Size == 0) {
        return STATUS_SUCCESS;
    }
    switch (Method(Request)) {
        case METHOD_BUFFERED:
            RtlCopyMemory(Request->Irp->AssociatedIrp.SystemBuffer, From, Size);
            break;
        case METHOD_OUT_DIRECT: {
            PVOID mapped = MapMdl(Request);

            if (mapped == NULL) {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            RtlCopyMemory(mapped, From, Size);
            break;
        }
        case METHOD_IN_DIRECT:
            /* The I/O manager probed for reading only: writing through a mapping of the MDL would change pages that
             * the caller may not write. So the MDL only says where the buffer is; UserBuffer is not set here. */
            if (Request->Irp->MdlAddress == NULL) {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            status = WinvmWriteUser(Request->Irp->RequestorMode, MmGetMdlVirtualAddress(Request->Irp->MdlAddress), From,
                                    Size, 1);
            break;
        default:
            status = WinvmWriteUser(Request->Irp->RequestorMode, Request->Irp->UserBuffer, From, Size, 1);
            break;
    }
    if (NT_SUCCESS(status)) {
        Request->Information = Size;
    }
    return status;
}
