/*
 * irp_queue.c - a queue of pending IRPs. An IRP is cancelled, served, or removed when its handle is cleaned up; exactly
 * one of the three completes it.
 */
#include "winvm.h"

static DRIVER_CANCEL CancelQueued;

VOID WinvmQueueInitialize(_Out_ WINVM_QUEUE *Queue) {
    KeInitializeSpinLock(&Queue->Lock);
    InitializeListHead(&Queue->Irps);
}

_Use_decl_annotations_ static VOID NTAPI CancelQueued(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    WINVM_QUEUE *queue = Irp->Tail.Overlay.DriverContext[0];
    KIRQL irql;

    UNREFERENCED_PARAMETER(DeviceObject);
    IoReleaseCancelSpinLock(Irp->CancelIrql);
    KeAcquireSpinLock(&queue->Lock, &irql);
    RemoveEntryList(&Irp->Tail.Overlay.ListEntry);
    KeReleaseSpinLock(&queue->Lock, irql);
    WinvmComplete(Irp, STATUS_CANCELLED, 0);
}

/* Returns STATUS_PENDING, or STATUS_CANCELLED when the IRP was cancelled before it could be queued. */
_Use_decl_annotations_ NTSTATUS WinvmQueueInsert(WINVM_QUEUE *Queue, PIRP Irp) {
    Irp->Tail.Overlay.DriverContext[0] = Queue;
    IoSetCancelRoutine(Irp, CancelQueued);
    if (Irp->Cancel && IoSetCancelRoutine(Irp, NULL) != NULL) {
        return STATUS_CANCELLED;
    }
    /* If the cancel routine has been called already it waits for the lock and will find the IRP in the list. */
    IoMarkIrpPending(Irp);
    InsertTailList(&Queue->Irps, &Irp->Tail.Overlay.ListEntry);
    return STATUS_PENDING;
}

/* Removes and returns the oldest IRP that matches, which the caller must complete; NULL when there is none. */
_Use_decl_annotations_ PIRP WinvmQueueRemove(WINVM_QUEUE *Queue, WINVM_QUEUE_MATCH *Match, PVOID Context) {
    PLIST_ENTRY next;

    for (PLIST_ENTRY entry = Queue->Irps.Flink; entry != &Queue->Irps; entry = next) {
        PIRP irp = CONTAINING_RECORD(entry, IRP, Tail.Overlay.ListEntry);

        next = entry->Flink;
        if (Match && !Match(irp, Context)) {
            continue;
        }
        if (IoSetCancelRoutine(irp, NULL) == NULL) {
            continue; /* its cancel routine is waiting for the lock and will remove and complete it */
        }
        RemoveEntryList(entry);
        return irp;
    }
    return NULL;
}

static BOOLEAN IsOfFile(_In_ PIRP Irp, _In_opt_ PVOID FileObject) {
    return FileObject == NULL || IoGetCurrentIrpStackLocation(Irp)->FileObject == FileObject;
}

/* Completes as cancelled every IRP that is pending on one file, or on all files when FileObject is NULL. */
_Use_decl_annotations_ VOID WinvmQueueCancelAll(WINVM_QUEUE *Queue, PFILE_OBJECT FileObject) {
    for (;;) {
        KIRQL irql;

        KeAcquireSpinLock(&Queue->Lock, &irql);
        PIRP irp = WinvmQueueRemove(Queue, IsOfFile, FileObject);
        KeReleaseSpinLock(&Queue->Lock, irql);
        if (irp == NULL) {
            return;
        }
        WinvmComplete(irp, STATUS_CANCELLED, 0);
    }
}
