/*
 * async.c - \Device\LySharkAsync: reads pend, and a timer's DPC completes the oldest one each period.
 */
#include "winvm.h"

#define GREETING_LENGTH ((ULONG)sizeof(WINVM_GREETING) - 1)

typedef struct ASYNC_STATE {
    WINVM_QUEUE Reads;
    KTIMER Timer;
    KDPC Dpc;
} ASYNC_STATE;

static KDEFERRED_ROUTINE CompleteOne;

_Use_decl_annotations_ static VOID NTAPI CompleteOne(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2) {
    ASYNC_STATE *state = Context;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Argument1);
    UNREFERENCED_PARAMETER(Argument2);
    KIRQL irql;
    KeAcquireSpinLock(&state->Reads.Lock, &irql);
    PIRP irp = WinvmQueueRemove(&state->Reads, NULL, NULL);
    KeReleaseSpinLock(&state->Reads.Lock, irql);
    if (irp) {
        ULONG count = min(IoGetCurrentIrpStackLocation(irp)->Parameters.Read.Length, GREETING_LENGTH);

        RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, WINVM_GREETING, count);
        WinvmComplete(irp, STATUS_SUCCESS, count);
    }
}

static NTSTATUS Read(_Inout_ WINVM_REQUEST *Request) {
    ASYNC_STATE *state = WINVM_STATE(ASYNC_STATE, Request->Device);
    KIRQL irql;

    if (Request->Stack->Parameters.Read.Length == 0) {
        return STATUS_SUCCESS;
    }
    KeAcquireSpinLock(&state->Reads.Lock, &irql);
    NTSTATUS status = WinvmQueueInsert(&state->Reads, Request->Irp);
    KeReleaseSpinLock(&state->Reads.Lock, irql);
    return status;
}

static WINVM_PAGED VOID Cleanup(_Inout_ WINVM_DEVICE *Device, _Inout_ WINVM_FILE *File, _In_ PFILE_OBJECT FileObject) {
    UNREFERENCED_PARAMETER(File);
    PAGED_CODE();
    WinvmQueueCancelAll(&WINVM_STATE(ASYNC_STATE, Device)->Reads, FileObject);
}

static WINVM_INIT NTSTATUS Start(_Inout_ WINVM_DEVICE *Device) {
    ASYNC_STATE *state = WINVM_STATE(ASYNC_STATE, Device);
    LARGE_INTEGER due = {.QuadPart = -10000LL * WINVM_ASYNC_PERIOD_MS}; /* 100 ns units, relative */

    WinvmQueueInitialize(&state->Reads);
    KeInitializeTimerEx(&state->Timer, NotificationTimer);
    KeInitializeDpc(&state->Dpc, CompleteOne, state);
    /* Periodic from the start: Wine deadlocks when a timer is set from inside its own DPC. */
    KeSetTimerEx(&state->Timer, due, WINVM_ASYNC_PERIOD_MS, &state->Dpc);
    return STATUS_SUCCESS;
}

static WINVM_PAGED VOID Stop(_Inout_ WINVM_DEVICE *Device) {
    ASYNC_STATE *state = WINVM_STATE(ASYNC_STATE, Device);

    PAGED_CODE();
    KeCancelTimer(&state->Timer);
    KeFlushQueuedDpcs(); /* one may have been queued before the timer was cancelled */
    WinvmQueueCancelAll(&state->Reads, NULL);
}

const WINVM_CLASS WinvmAsyncClass = {
    .Name = "LySharkAsync",
    .DeviceName = WINVM_DEVICE_NAME_ASYNC,
    .LinkName = WINVM_LINK_NAME_ASYNC,
    .IoFlags = DO_BUFFERED_IO,
    .StateSize = sizeof(ASYNC_STATE),
    .Start = Start,
    .Stop = Stop,
    .Cleanup = Cleanup,
    .Read = Read,
};
