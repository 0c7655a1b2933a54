/*
 * guard_irp.c - the IRPs that the driver is given. After DriverEntry its dispatch routines are called through the
 * guard, which knows from then on whether an IRP is completed, passed on, or still the driver's.
 */
#include "guard.h"

#define IRPS 1024u
#define PROBES 16u
#define MARKED_PENDING SL_PENDING_RETURNED

typedef enum IRP_STATE { Unused, Received, Completed, Passed } IRP_STATE;

typedef struct TRACKED {
    PIRP Irp;
    IRP_STATE State;
    ULONG Serial;
    PDRIVER_DISPATCH Routine;
    BOOLEAN Marked;   /* IoMarkIrpPending was called before it was completed */
    BOOLEAN Returned; /* its dispatch routine has returned */
    NTSTATUS Status;
    UCHAR Major;
    ULONG Code;
} TRACKED;

static TRACKED Irps[IRPS];
static ULONG Serial;
static PDRIVER_DISPATCH Own[IRP_MJ_MAXIMUM_FUNCTION + 1];
static LONG FilesOpen;

static ULONG Hash(PIRP Irp) {
    return (ULONG)(((ULONG_PTR)Irp >> 4) * 0x9E3779B97F4A7C15ULL >> 54) % IRPS;
}

/* The record of an IRP; with GuardLock. */
static TRACKED *Find(PIRP Irp) {
    for (ULONG i = 0; i < PROBES; i++) {
        TRACKED *tracked = &Irps[(Hash(Irp) + i) % IRPS];
        if (tracked->State != Unused && tracked->Irp == Irp) {
            return tracked;
        }
    }
    return NULL;
}

/* A record for an IRP that arrives: its old one, an unused one, or that of the IRP completed longest ago. */
static TRACKED *Take(PIRP Irp) {
    TRACKED *best = Find(Irp);

    for (ULONG i = 0; best == NULL && i < PROBES; i++) {
        TRACKED *tracked = &Irps[(Hash(Irp) + i) % IRPS];
        if (tracked->State == Unused) {
            best = tracked;
        }
    }
    for (ULONG i = 0; best == NULL && i < PROBES; i++) {
        TRACKED *tracked = &Irps[(Hash(Irp) + i) % IRPS];
        if (tracked->State != Received && tracked->Returned) {
            best = tracked;
        }
    }
    return best;
}

static ULONG_PTR OutputLimit(PIRP Irp, const IO_STACK_LOCATION *Stack) {
    switch (Stack->MajorFunction) {
        case IRP_MJ_READ:
            return Stack->Parameters.Read.Length;
        case IRP_MJ_DEVICE_CONTROL:
            /* With METHOD_NEITHER, and for what is written to the device, Information is the driver's own. */
            if ((Stack->Parameters.DeviceIoControl.IoControlCode & 3) == METHOD_NEITHER) {
                return (ULONG_PTR)-1;
            }
            return Stack->Parameters.DeviceIoControl.OutputBufferLength;
        default:
            UNREFERENCED_PARAMETER(Irp);
            return (ULONG_PTR)-1;
    }
}

static VOID CheckCompletion(ULONG_PTR Caller, PIRP Irp, const TRACKED *Tracked) {
    const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(Irp);
    NTSTATUS status = Irp->IoStatus.Status;
    ULONG_PTR irp = (ULONG_PTR)Irp;
    KIRQL irql;

    if (GuardIrql(&irql) && irql > DISPATCH_LEVEL) {
        GuardViolation(Caller, "IRP completed above DISPATCH_LEVEL", VERIFIER_IO_VIOLATION, 0xE, irql, irp, 0);
    }
    if (status == STATUS_PENDING || status == (NTSTATUS)0xFFFFFFFF) {
        GuardViolation(Caller, "IRP completed with status pending or -1", VERIFIER_IO_VIOLATION, 0x6, (ULONG)status,
                       irp, 0);
    }
    if (Irp->CancelRoutine != NULL) {
        GuardViolation(Caller, "IRP completed with its cancel routine set", VERIFIER_IO_VIOLATION, 0x7,
                       (ULONG_PTR)Irp->CancelRoutine, irp, 0);
    }
    if (!NT_ERROR(status) && Tracked->Major == stack->MajorFunction &&
        Irp->IoStatus.Information > OutputLimit(Irp, stack)) {
        GuardViolation(Caller, "Information is larger than the output buffer", VERIFIER_IO_VIOLATION, 0x312, Caller,
                       irp, 0);
    }
}

/* A completed IRP has no current stack location, and when its memory is free it is no IRP. The memory of one that was
   completed may hold another since, which came to a driver object whose dispatch routines are not watched. */
static BOOLEAN IsUnderWay(PIRP Irp) {
    return Irp->Type == IO_TYPE_IRP && Irp->CurrentLocation >= 1 && Irp->CurrentLocation <= Irp->StackCount;
}

VOID FASTCALL GuardIofCompleteRequest(PIRP Irp, CCHAR Boost) {
    BOOLEAN again = FALSE;
    TRACKED copy = {0};

    if (GuardOn) {
        GuardLock();
        TRACKED *tracked = Find(Irp);
        if (tracked) {
            if (tracked->State == Completed && IsUnderWay(Irp)) {
                tracked->State = Unused;
            }
            again = tracked->State == Completed;
            copy = *tracked;
        }
        GuardUnlock();
        if (again) {
            GuardViolation(CALLER, "IRP completed twice", DOUBLE_COMPLETION, (ULONG_PTR)Irp, 0, 0, 0);
        }
        if (tracked && copy.State == Received) {
            CheckCompletion(CALLER, Irp, &copy);
            GuardLock();
            if (tracked->Irp == Irp) {
                tracked->Marked = (IoGetCurrentIrpStackLocation(Irp)->Control & MARKED_PENDING) != 0;
                tracked->Status = Irp->IoStatus.Status;
                tracked->State = Completed;
            }
            GuardUnlock();
        }
        GuardMdlsGiven(Irp);
    }
    REAL(IofCompleteRequest)(Irp, Boost);
}

NTSTATUS FASTCALL GuardIofCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    KIRQL irql;

    if (GuardOn) {
        if (GuardIrql(&irql) && irql > DISPATCH_LEVEL) {
            GuardViolation(CALLER, "IoCallDriver above DISPATCH_LEVEL", VERIFIER_IO_VIOLATION, 0x10, irql, 0, 0);
        }
        GuardLock();
        TRACKED *tracked = Find(Irp);
        if (tracked && tracked->State == Received) {
            tracked->State = Passed;
        }
        GuardUnlock();
        GuardMdlsGiven(Irp);
    }
    return REAL(IofCallDriver)(DeviceObject, Irp);
}

/* A cancel routine runs in it with the cancel spin lock held, at an IRQL that its caller had not. */
BOOLEAN NTAPI GuardIoCancelIrp(PIRP Irp) {
    GUARD_CALL call = GuardEnterUnknown();
    BOOLEAN cancelled = REAL(IoCancelIrp)(Irp);

    GuardLeave(&call);
    return cancelled;
}

static VOID CheckReturn(const TRACKED *Tracked, PIRP Irp, NTSTATUS Status) {
    ULONG_PTR routine = (ULONG_PTR)Tracked->Routine;
    ULONG_PTR irp = (ULONG_PTR)Irp;

    if (Status == (NTSTATUS)0xFFFFFFFF) {
        GuardViolation(routine, "dispatch routine returned status -1", VERIFIER_IO_VIOLATION, 0x225, routine, irp,
                       (ULONG)Status);
    }
    if (Tracked->State == Received && Status != STATUS_PENDING) {
        GuardViolation(routine, "dispatch routine neither completed nor passed on the IRP, nor returned STATUS_PENDING",
                       VERIFIER_IO_VIOLATION, 0x226, routine, irp, 0);
    }
    if (Tracked->State == Passed) {
        return;
    }
    if (Status == STATUS_PENDING && !Tracked->Marked) {
        GuardViolation(routine, "STATUS_PENDING returned without IoMarkIrpPending", VERIFIER_IO_VIOLATION, 0x23D,
                       routine, irp, (ULONG)Status);
    }
    if (Status != STATUS_PENDING && Tracked->Marked) {
        GuardViolation(routine, "IRP marked pending, but STATUS_PENDING not returned", VERIFIER_IO_VIOLATION, 0x23E,
                       routine, irp, (ULONG)Status);
    }
    if (Status != STATUS_PENDING && Status != Tracked->Status) {
        GuardViolation(routine, "dispatch routine returned another status than the IRP was completed with",
                       VERIFIER_IO_VIOLATION, 0x224, routine, irp, (ULONG)Tracked->Status);
    }
}

static VOID CheckThread(PDEVICE_OBJECT DeviceObject, const GUARD_CALL *Call, PDRIVER_DISPATCH Routine, KIRQL Before,
                        LONG Critical) {
    const GUARD_THREAD *thread = Call->Thread;

    if (thread && thread->Irql != Before) {
        GuardViolation((ULONG_PTR)Routine, "dispatch routine returned at another IRQL", VERIFIER_IO_VIOLATION, 0x5,
                       (ULONG_PTR)DeviceObject, Before, thread->Irql);
    }
    if (thread && thread->Critical != Critical) {
        GuardViolation((ULONG_PTR)Routine, "dispatch routine left or ended a critical region", VERIFIER_VIOLATION, 0xC5,
                       (ULONG_PTR)Routine, (ULONG_PTR)-thread->Critical, (ULONG_PTR)-Critical);
    }
}

/* Counts the files that the driver has opened and not closed; by IRP_MJ_CLEANUP where it does not serve the close. */
static VOID CountFiles(UCHAR Major, NTSTATUS Status) {
    UCHAR last = Own[IRP_MJ_CLOSE] ? IRP_MJ_CLOSE : IRP_MJ_CLEANUP;

    if (Major == IRP_MJ_CREATE && NT_SUCCESS(Status) && Own[last]) {
        InterlockedIncrement(&FilesOpen);
    } else if (Major == last) {
        InterlockedDecrement(&FilesOpen);
    }
}

LONG GuardFilesOpen(VOID) {
    return FilesOpen;
}

static NTSTATUS NTAPI Dispatch(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    UCHAR major = stack->MajorFunction;
    PDRIVER_DISPATCH routine = Own[major];

    if (!GuardOn || DeviceObject->DriverObject != GuardDriver) {
        return routine(DeviceObject, Irp);
    }
    GUARD_CALL call = GuardEnterAsIs();
    KIRQL before = call.Irql;
    LONG critical = call.Thread ? call.Thread->Critical : 0;
    GuardLock();
    TRACKED *tracked = Take(Irp);
    ULONG serial = ++Serial;
    if (tracked) {
        *tracked = (TRACKED){
            Irp,     Received, serial,
            routine, FALSE,    FALSE,
            0,       major,    major == IRP_MJ_DEVICE_CONTROL ? stack->Parameters.DeviceIoControl.IoControlCode : 0};
    }
    GuardUnlock();
    NTSTATUS status = routine(DeviceObject, Irp);
    CountFiles(major, status);
    if (GuardOn) {
        CheckThread(DeviceObject, &call, routine, before, critical);
    }
    TRACKED copy = {0};
    GuardLock();
    if (tracked && tracked->Irp == Irp && tracked->Serial == serial) {
        if (tracked->State == Received) { /* still the driver's, so it can be read */
            tracked->Marked = (stack->Control & MARKED_PENDING) != 0;
        }
        tracked->Returned = TRUE;
        copy = *tracked;
    }
    GuardUnlock();
    if (GuardOn && copy.State != Unused) {
        CheckReturn(&copy, Irp, status);
    }
    GuardLeave(&call);
    return status;
}

/* A routine that is not in the driver's image is the kernel's own for what the driver does not serve. */
VOID GuardWrapDispatch(PDRIVER_OBJECT DriverObject) {
    RtlZeroMemory(Irps, sizeof(Irps));
    for (ULONG i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++) {
        if (GuardInImage((ULONG_PTR)DriverObject->MajorFunction[i])) {
            Own[i] = DriverObject->MajorFunction[i];
            DriverObject->MajorFunction[i] = Dispatch;
        }
    }
}

ULONG GuardIrpsLeft(VOID) {
    ULONG count = 0;

    for (ULONG i = 0; i < IRPS; i++) {
        if (Irps[i].State == Received) {
            GUARD_SITE site = {{(ULONG_PTR)Irps[i].Routine}};
            count++;
            DbgPrint("winvm-guard: IRP %p major function 0x%02X code 0x%08X not completed\n", Irps[i].Irp,
                     Irps[i].Major, Irps[i].Code);
            GuardPrintLeft("IRP", (ULONG_PTR)Irps[i].Irp, 0, 0, &site);
        }
    }
    return count;
}

GUARD_IMPORT(IoCancelIrp);
GUARD_IMPORT(IofCallDriver);
GUARD_IMPORT(IofCompleteRequest);
