/*
 * cr42.c - \Device\CR42: three virtual registers, by read/write and by control codes of all four transfer methods.
 *
 * Each access to a register is one interlocked operation, so that concurrent additions are never lost. A critical
 * region would not do: it only disables APCs.
 */
#include "winvm.h"

#define REGISTER_BYTES ((ULONG)sizeof(int32_t))

typedef struct CR42_STATE {
    WINVM_REGISTERS Registers;
} CR42_STATE;

/* Function codes come in groups of sixteen per method: get 0..2, set 3..5; additions are 0..2 of their own group. */
static volatile LONG *RegisterOf(_In_ const WINVM_REQUEST *Request) {
    WINVM_REGISTERS *registers = &WINVM_STATE(CR42_STATE, Request->Device)->Registers;
    ULONG function = (Request->Stack->Parameters.DeviceIoControl.IoControlCode >> 2) & 0xF;

    return (volatile LONG *)&registers->r1 + function % 3;
}

static ULONG NumberOf(_In_ const WINVM_REQUEST *Request) {
    return ((Request->Stack->Parameters.DeviceIoControl.IoControlCode >> 2) & 0xF) % 3 + 1;
}

static NTSTATUS Get(_Inout_ WINVM_REQUEST *Request) {
    LONG value = InterlockedCompareExchange(RegisterOf(Request), 0, 0);

    return WinvmGive(Request, &value, REGISTER_BYTES);
}

static NTSTATUS Set(_Inout_ WINVM_REQUEST *Request) {
    BOOLEAN inDirect = (Request->Stack->Parameters.DeviceIoControl.IoControlCode & 3) == METHOD_IN_DIRECT;
    LONG value;

    NTSTATUS status = inDirect && WinvmSecondLength(Request) != 0 ? WinvmTakeSecond(Request, &value, REGISTER_BYTES)
                                                                  : WinvmTakeFirst(Request, &value, REGISTER_BYTES);
    if (NT_SUCCESS(status)) {
        InterlockedExchange(RegisterOf(Request), value);
        DbgPrint("winvm: CR42: r%u = %d\n", NumberOf(Request), value);
    }
    return status;
}

static NTSTATUS Add(_Inout_ WINVM_REQUEST *Request) {
    LONG addend;

    if (WinvmSecondLength(Request) < REGISTER_BYTES) {
        return STATUS_BUFFER_TOO_SMALL; /* before the addition: a failed request leaves the register alone */
    }
    NTSTATUS status = WinvmTakeFirst(Request, &addend, REGISTER_BYTES);
    if (NT_SUCCESS(status)) {
        /* Unsigned, because the sum may wrap. */
        LONG sum = (LONG)((ULONG)InterlockedExchangeAdd(RegisterOf(Request), addend) + (ULONG)addend);
        status = WinvmGive(Request, &sum, REGISTER_BYTES);
    }
    return status;
}

static NTSTATUS Read(_Inout_ WINVM_REQUEST *Request) {
    CR42_STATE *state = WINVM_STATE(CR42_STATE, Request->Device);

    if (Request->Stack->Parameters.Read.Length < REGISTER_BYTES) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    LONG value = InterlockedCompareExchange((volatile LONG *)&state->Registers.r1, 0, 0);
    RtlCopyMemory(Request->Irp->AssociatedIrp.SystemBuffer, &value, REGISTER_BYTES);
    Request->Information = REGISTER_BYTES;
    return STATUS_SUCCESS;
}

static NTSTATUS Write(_Inout_ WINVM_REQUEST *Request) {
    CR42_STATE *state = WINVM_STATE(CR42_STATE, Request->Device);
    LONG value;

    if (Request->Stack->Parameters.Write.Length < REGISTER_BYTES) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    RtlCopyMemory(&value, Request->Irp->AssociatedIrp.SystemBuffer, REGISTER_BYTES);
    InterlockedExchange((volatile LONG *)&state->Registers.r1, value);
    DbgPrint("winvm: CR42: r1 = %d\n", value);
    Request->Information = REGISTER_BYTES;
    return STATUS_SUCCESS;
}

#define REGISTER_ROWS(method)                                                     \
    WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_GET_R1##method, FILE_ANY_ACCESS, Get),     \
        WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_GET_R2##method, FILE_ANY_ACCESS, Get), \
        WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_GET_R3##method, FILE_ANY_ACCESS, Get), \
        WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_SET_R1##method, FILE_ANY_ACCESS, Set), \
        WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_SET_R2##method, FILE_ANY_ACCESS, Set), \
        WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_SET_R3##method, FILE_ANY_ACCESS, Set)

static const WINVM_CONTROL Controls[] = {
    REGISTER_ROWS(),
    REGISTER_ROWS(_IN_DIRECT),
    REGISTER_ROWS(_OUT_DIRECT),
    REGISTER_ROWS(_NEITHER),
    WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_ADD_R1, FILE_ANY_ACCESS, Add),
    WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_ADD_R2, FILE_ANY_ACCESS, Add),
    WINVM_CONTROL_ROW(WINVM_IOCTL_CR42_ADD_R3, FILE_ANY_ACCESS, Add),
};

const WINVM_CLASS WinvmCr42Class = {
    .Name = "CR42",
    .DeviceName = WINVM_DEVICE_NAME_CR42,
    .LinkName = WINVM_LINK_NAME_CR42,
    .IoFlags = DO_BUFFERED_IO,
    .StateSize = sizeof(CR42_STATE),
    .Read = Read,
    .Write = Write,
    .Controls = Controls,
    .ControlCount = ARRAYSIZE(Controls),
};
