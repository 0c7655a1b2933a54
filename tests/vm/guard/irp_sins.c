/* irp_sins.c - sins with IRPs. */
#include "sins.h"

static VOID NTAPI Cancel(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    (void)DeviceObject;
    IoReleaseCancelSpinLock(Irp->CancelIrql);
}

static VOID NTAPI CompleteLater(PDEVICE_OBJECT DeviceObject, PVOID Context) {
    SINS_DEVICE *own = DeviceObject->DeviceExtension;
    PVOID item = own->Kept;
    own->Kept = NULL;
    Complete(Context, STATUS_SUCCESS, 0);
    IoFreeWorkItem(item);
}

static VOID Later(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    own->Kept = IoAllocateWorkItem(Sin->Device);
    Sin->Done = TRUE;
    Sin->Status = STATUS_PENDING;
    IoQueueWorkItem(own->Kept, CompleteLater, DelayedWorkQueue, Sin->Irp);
}

static VOID DoubleCompletion(SIN *Sin) {
    if (!Sin->Clean) {
        Complete(Sin->Irp, STATUS_SUCCESS, 0);
    }
}

static VOID CancelRoutineSet(SIN *Sin) {
    IoSetCancelRoutine(Sin->Irp, Cancel);
    if (Sin->Clean) {
        IoSetCancelRoutine(Sin->Irp, NULL);
    }
}

static VOID CompletedPending(SIN *Sin) {
    Sin->Done = TRUE;
    Sin->Status = Sin->Clean ? STATUS_SUCCESS : STATUS_PENDING;
    Complete(Sin->Irp, Sin->Status, 0);
}

static VOID PendingUnmarked(SIN *Sin) {
    if (Sin->Clean) {
        IoMarkIrpPending(Sin->Irp);
    }
    Later(Sin);
}

static VOID MarkedNotReturned(SIN *Sin) {
    IoMarkIrpPending(Sin->Irp);
    if (Sin->Clean) {
        Later(Sin);
    }
}

static VOID NeverCompleted(SIN *Sin) {
    Sin->Done = !Sin->Clean;
}

static VOID OtherStatus(SIN *Sin) {
    Sin->Done = TRUE;
    Complete(Sin->Irp, STATUS_SUCCESS, 0);
    Sin->Status = Sin->Clean ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

static VOID InformationTooLarge(SIN *Sin) {
    ULONG length = IoGetCurrentIrpStackLocation(Sin->Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    Sin->Information = Sin->Clean ? length : length + 1;
}

static VOID ReturnedRaised(SIN *Sin) {
    KIRQL irql;
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    if (Sin->Clean) {
        KeLowerIrql(irql);
    }
}

static VOID LockKept(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    KIRQL irql;
    KeAcquireSpinLock(&own->First, &irql);
    if (Sin->Clean) {
        KeReleaseSpinLock(&own->First, irql);
    }
}

static VOID RegionKept(SIN *Sin) {
    KeEnterCriticalRegion();
    if (Sin->Clean) {
        KeLeaveCriticalRegion();
    }
}

SIN_ROUTINE *const IrpSins[] = {DoubleCompletion,  CancelRoutineSet, CompletedPending, PendingUnmarked,
                                MarkedNotReturned, NeverCompleted,   OtherStatus,      InformationTooLarge,
                                ReturnedRaised,    LockKept,         RegionKept};
const ULONG IrpSinCount = ARRAYSIZE(IrpSins);
