/*
 * msgboard.c - \Device\MsgBoard: logs messages and returns the newest ones, by direct transfer.
 */
#include "winvm.h"

typedef struct MESSAGE {
    ULONG Length;
    char Text[WINVM_MESSAGE_LIMIT];
} MESSAGE;

typedef struct MSGBOARD_STATE {
    FAST_MUTEX Lock;
    ULONG Count;                       /* messages shown since load */
    MESSAGE Kept[WINVM_MESSAGES_KEPT]; /* number n at n % WINVM_MESSAGES_KEPT */
} MSGBOARD_STATE;

static WINVM_PAGED NTSTATUS Show(_Inout_ WINVM_REQUEST *Request) {
    MSGBOARD_STATE *state = WINVM_STATE(MSGBOARD_STATE, Request->Device);
    ULONG first = WinvmFirstLength(Request);
    ULONG second = WinvmSecondLength(Request);
    BOOLEAN outDirect = (Request->Stack->Parameters.DeviceIoControl.IoControlCode & 3) == METHOD_OUT_DIRECT;
    ULONG length = first || outDirect ? first : second;
    MESSAGE message;
    NTSTATUS status;

    PAGED_CODE();
    if (length > WINVM_MESSAGE_LIMIT) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    status = first || outDirect ? WinvmTakeFirst(Request, message.Text, length)
                                : WinvmTakeSecond(Request, message.Text, length);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    message.Length = 0;
    while (message.Length < length && message.Text[message.Length] != '\0') {
        message.Length++;
    }
    ExAcquireFastMutex(&state->Lock);
    ULONG number = state->Count++;
    state->Kept[number % WINVM_MESSAGES_KEPT] = message;
    ExReleaseFastMutex(&state->Lock);
    WinvmLogText("MsgBoard", "show", message.Text, message.Length);
    return outDirect && second >= sizeof(number) ? WinvmGive(Request, &number, sizeof(number)) : STATUS_SUCCESS;
}

static WINVM_PAGED NTSTATUS GiveMessage(_Inout_ WINVM_REQUEST *Request, _In_ const MESSAGE *Message) {
    ULONG count = min(Message->Length, WinvmSecondLength(Request));

    PAGED_CODE();
    NTSTATUS status = WinvmGive(Request, Message->Text, count);
    return NT_SUCCESS(status) && count < Message->Length ? STATUS_BUFFER_OVERFLOW : status;
}

static WINVM_PAGED NTSTATUS Get(_Inout_ WINVM_REQUEST *Request) {
    MSGBOARD_STATE *state = WINVM_STATE(MSGBOARD_STATE, Request->Device);
    MESSAGE message = {0};

    PAGED_CODE();
    ExAcquireFastMutex(&state->Lock);
    if (state->Count != 0) {
        message = state->Kept[(state->Count - 1) % WINVM_MESSAGES_KEPT];
    }
    ExReleaseFastMutex(&state->Lock);
    return GiveMessage(Request, &message);
}

static WINVM_PAGED NTSTATUS Lookup(_Inout_ WINVM_REQUEST *Request) {
    MSGBOARD_STATE *state = WINVM_STATE(MSGBOARD_STATE, Request->Device);
    MESSAGE message;
    uint32_t number;

    PAGED_CODE();
    NTSTATUS status = WinvmTakeFirst(Request, &number, sizeof(number));
    if (!NT_SUCCESS(status)) {
        return status;
    }
    ExAcquireFastMutex(&state->Lock);
    if (number < state->Count && state->Count - number <= WINVM_MESSAGES_KEPT) {
        message = state->Kept[number % WINVM_MESSAGES_KEPT];
    } else {
        status = STATUS_NOT_FOUND;
    }
    ExReleaseFastMutex(&state->Lock);
    return NT_SUCCESS(status) ? GiveMessage(Request, &message) : status;
}

static WINVM_INIT NTSTATUS Start(_Inout_ WINVM_DEVICE *Device) {
    ExInitializeFastMutex(&WINVM_STATE(MSGBOARD_STATE, Device)->Lock);
    return STATUS_SUCCESS;
}

static const WINVM_CONTROL Controls[] = {
    WINVM_CONTROL_ROW(WINVM_IOCTL_MSGBOARD_SHOW, FILE_ANY_ACCESS, Show),
    WINVM_CONTROL_ROW(WINVM_IOCTL_MSGBOARD_GET, FILE_ANY_ACCESS, Get),
    WINVM_CONTROL_ROW(WINVM_IOCTL_MSGBOARD_LOOKUP, FILE_ANY_ACCESS, Lookup),
    WINVM_CONTROL_ROW(WINVM_IOCTL_MSGBOARD_SHOW_IN_DIRECT, FILE_ANY_ACCESS, Show),
    WINVM_CONTROL_ROW(WINVM_IOCTL_MSGBOARD_GET_IN_DIRECT, FILE_ANY_ACCESS, Get),
    WINVM_CONTROL_ROW(WINVM_IOCTL_MSGBOARD_LOOKUP_IN_DIRECT, FILE_ANY_ACCESS, Lookup),
};

const WINVM_CLASS WinvmMsgBoardClass = {
    .Name = "MsgBoard",
    .DeviceName = WINVM_DEVICE_NAME_MSGBOARD,
    .LinkName = WINVM_LINK_NAME_MSGBOARD,
    .IoFlags = DO_BUFFERED_IO,
    .StateSize = sizeof(MSGBOARD_STATE),
    .Start = Start,
    .Controls = Controls,
    .ControlCount = ARRAYSIZE(Controls),
};
