/*
 * fault.c - \Device\WinvmFault: takes the system down on purpose. Fault build only, administrators only, and only after
 * the handle was armed.
 */
#include "winvm.h"

#define STEP_COUNT ((ULONG)ARRAYSIZE(WINVM_FAULT_SEQUENCE))
#define POOL_BLOCK_BYTES 64
#define POOL_OVERRUN_LIMIT 4096

_Static_assert(STEP_COUNT == 30, "the contract promises 30 steps");

typedef struct FAULT_FILE {
    BOOLEAN Armed;
    ULONG Matched; /* steps of WINVM_FAULT_SEQUENCE seen in order */
} FAULT_FILE;

static NTSTATUS Arm(_Inout_ WINVM_REQUEST *Request) {
    uint32_t key;

    NTSTATUS status = WinvmTakeFirst(Request, &key, sizeof(key));
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (key != WINVM_FAULT_ARM_KEY) {
        return STATUS_INVALID_PARAMETER;
    }
    WINVM_FILE_STATE(FAULT_FILE, Request->File)->Armed = TRUE;
    DbgPrint("winvm: WinvmFault: armed\n");
    return STATUS_SUCCESS;
}

/* Logs the fault that follows; returns STATUS_DEVICE_NOT_READY when the handle is not armed. */
static NTSTATUS Announce(_In_ const WINVM_REQUEST *Request, _In_ PCSTR What) {
    if (!WINVM_FILE_STATE(FAULT_FILE, Request->File)->Armed) {
        return STATUS_DEVICE_NOT_READY;
    }
    DbgPrint("winvm: WinvmFault: %s\n", What);
    return STATUS_SUCCESS;
}

static NTSTATUS Bugcheck(_Inout_ WINVM_REQUEST *Request) {
    WINVM_BUGCHECK in;

    NTSTATUS status = WinvmTakeFirst(Request, &in, sizeof(in));
    if (NT_SUCCESS(status)) {
        status = Announce(Request, "bugcheck");
    }
    if (NT_SUCCESS(status)) {
        KeBugCheckEx(in.code, in.parameters[0], in.parameters[1], in.parameters[2], in.parameters[3]);
    }
    return status;
}

static NTSTATUS NullWrite(_Inout_ WINVM_REQUEST *Request) {
    volatile ULONG_PTR zero = 0; /* a constant null pointer would be compiled to a trap instead of a write */

    NTSTATUS status = Announce(Request, "null write");
    if (NT_SUCCESS(status)) {
        *(volatile ULONG *)zero = 0xDEADBEEF;
    }
    return status;
}

static NTSTATUS FreedPointer(_Inout_ WINVM_REQUEST *Request) {
    WINVM_ADDRESS in;

    NTSTATUS status = WinvmTakeFirst(Request, &in, sizeof(in));
    if (NT_SUCCESS(status)) {
        status = Announce(Request, "write to the caller's pointer");
    }
    if (NT_SUCCESS(status)) {
        *(volatile ULONG64 *)(ULONG_PTR)in.address = 0xDEADBEEFDEADBEEF;
    }
    return status;
}

static NTSTATUS WrongIrql(_Inout_ WINVM_REQUEST *Request) {
    NTSTATUS status = Announce(Request, "wait at DISPATCH_LEVEL");
    if (NT_SUCCESS(status)) {
        KEVENT never;
        KIRQL irql;

        KeInitializeEvent(&never, NotificationEvent, FALSE);
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
        KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
        KeLowerIrql(irql);
    }
    return status;
}

static NTSTATUS DoubleComplete(_Inout_ WINVM_REQUEST *Request) {
    NTSTATUS status = Announce(Request, "double completion");
    if (NT_SUCCESS(status)) {
        WinvmComplete(Request->Irp, STATUS_SUCCESS, 0); /* and the shell completes it again */
    }
    return status;
}

static NTSTATUS PoolOverrun(_Inout_ WINVM_REQUEST *Request) {
    uint32_t excess;

    NTSTATUS status = WinvmTakeFirst(Request, &excess, sizeof(excess));
    if (NT_SUCCESS(status) && excess > POOL_OVERRUN_LIMIT) {
        status = STATUS_INVALID_PARAMETER;
    }
    if (NT_SUCCESS(status)) {
        status = Announce(Request, "pool overrun");
    }
    if (NT_SUCCESS(status)) {
        volatile UCHAR *block = ExAllocatePoolWithTag(NonPagedPoolNx, POOL_BLOCK_BYTES, WINVM_POOL_TAG);

        if (block == NULL) {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        for (ULONG i = 0; i < POOL_BLOCK_BYTES + excess; i++) {
            block[i] = 0xEE;
        }
        ExFreePoolWithTag((PVOID)block, WINVM_POOL_TAG);
    }
    return status;
}

static NTSTATUS Hang(_Inout_ WINVM_REQUEST *Request) {
    NTSTATUS status = Announce(Request, "hang at DISPATCH_LEVEL");
    if (NT_SUCCESS(status)) {
        KIRQL irql;

        KeRaiseIrql(DISPATCH_LEVEL, &irql);
        for (volatile BOOLEAN for_ever = TRUE; for_ever;) {
            YieldProcessor();
        }
        KeLowerIrql(irql);
    }
    return status;
}

static NTSTATUS Step(_Inout_ WINVM_REQUEST *Request) {
    FAULT_FILE *file = WINVM_FILE_STATE(FAULT_FILE, Request->File);
    uint32_t opcode;

    NTSTATUS status = WinvmTakeFirst(Request, &opcode, sizeof(opcode));
    if (NT_SUCCESS(status)) {
        status = file->Armed ? STATUS_SUCCESS : STATUS_DEVICE_NOT_READY;
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (opcode != WINVM_FAULT_SEQUENCE[file->Matched]) {
        file->Matched = 0;
    }
    if (opcode == WINVM_FAULT_SEQUENCE[file->Matched]) {
        file->Matched++;
    }
    if (file->Matched == STEP_COUNT) {
        Announce(Request, "sequence complete");
        KeBugCheckEx(WINVM_FAULT_SEQUENCE_BUGCHECK, STEP_COUNT, 0, 0, 0);
    }
    return WinvmGive(Request, &file->Matched, sizeof(file->Matched));
}

static const WINVM_CONTROL Controls[] = {
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_ARM, FILE_WRITE_ACCESS, Arm),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_BUGCHECK, FILE_WRITE_ACCESS, Bugcheck),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_NULL_WRITE, FILE_WRITE_ACCESS, NullWrite),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_FREED_POINTER, FILE_WRITE_ACCESS, FreedPointer),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_WRONG_IRQL, FILE_WRITE_ACCESS, WrongIrql),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_DOUBLE_COMPLETE, FILE_WRITE_ACCESS, DoubleComplete),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_POOL_OVERRUN, FILE_WRITE_ACCESS, PoolOverrun),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_HANG, FILE_WRITE_ACCESS, Hang),
    WINVM_CONTROL_ROW(WINVM_IOCTL_FAULT_STEP, FILE_WRITE_ACCESS, Step),
};

const WINVM_CLASS WinvmFaultClass = {
    .Name = "WinvmFault",
    .DeviceName = WINVM_DEVICE_NAME_FAULT,
    .LinkName = WINVM_LINK_NAME_FAULT,
    .IoFlags = DO_BUFFERED_IO,
    .AdministratorsOnly = TRUE,
    .FileStateSize = sizeof(FAULT_FILE),
    .Controls = Controls,
    .ControlCount = ARRAYSIZE(Controls),
};
