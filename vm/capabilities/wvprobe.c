/*
 * wvprobe.c - \Device\WvProbe: each control code does one thing that not every guest's kernel can do, and says what
 * came of it. \Device\WvProbeOne is exclusive. All requests are buffered and completed in the caller's thread.
 */
#include <ntddk.h>

#define POOL_TAG 'bPvW'
#define POOL_BLOCKS 16
#define POOL_BYTES 512
#define CODE(function) CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)

enum {
    GET_COUNTS = (int)CODE(0x800),   /* out COUNTS */
    MAP_MEMORY = (int)CODE(0x801),   /* out ULONG64: user address of a page that begins with MARK */
    UNMAP_MEMORY = (int)CODE(0x802), /* in the thread's process that mapped it */
    WRITE_CALLER = (int)CODE(0x803), /* in ULONG64 address; writes MARK there, out ULONG status of the attempt */
    READ_IRQL = (int)CODE(0x804),    /* out IRQLS */
    CATCH_FAULT = (int)CODE(0x805),  /* out ULONG: the exception that a __try caught, 0 for none */
    TAKE_POOL = (int)CODE(0x806),    /* POOL_BLOCKS blocks of POOL_BYTES with POOL_TAG */
    GIVE_POOL = (int)CODE(0x807),
    IS_VERIFIED = (int)CODE(0x808), /* out ULONG: whether Driver Verifier watches this driver */
    TAKE_DOWN = (int)CODE(0x809),   /* bugcheck 0xE2 with parameters 1, 2, 3, 4 */
};

#define MARK 0x65626F7270767721ULL

typedef struct COUNTS {
    LONG started;  /* processes that were reported as started */
    LONG ended;    /* and as ended */
    LONG cleanups; /* IRP_MJ_CLEANUP */
    LONG narrow;   /* opens by 32-bit processes */
} COUNTS;

typedef struct IRQLS {
    ULONG before;
    ULONG raised; /* after KeRaiseIrql(DISPATCH_LEVEL) */
    ULONG locked; /* with a spin lock held */
    ULONG after;
} IRQLS;

typedef LOGICAL(NTAPI *IS_DRIVER_VERIFYING)(PDRIVER_OBJECT DriverObject);
typedef BOOLEAN(NTAPI *IS_32BIT_PROCESS)(PIRP Irp);

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD Unload;
DRIVER_DISPATCH Dispatch;

static UNICODE_STRING Names[2] = {RTL_CONSTANT_STRING(L"\\Device\\WvProbe"),
                                  RTL_CONSTANT_STRING(L"\\Device\\WvProbeOne")};
static UNICODE_STRING Links[2] = {RTL_CONSTANT_STRING(L"\\DosDevices\\WvProbe"),
                                  RTL_CONSTANT_STRING(L"\\DosDevices\\WvProbeOne")};

static COUNTS Counts;
static BOOLEAN Notified;
static PVOID Blocks[POOL_BLOCKS];
static PVOID Page;
static PMDL Mdl;
static PVOID UserAddress;
static PDRIVER_OBJECT Self;

/* A guest whose kernel lacks a routine must still load this driver. */
static PVOID Routine(_In_ PCWSTR Name) {
    UNICODE_STRING name;

    RtlInitUnicodeString(&name, Name);
    return MmGetSystemRoutineAddress(&name);
}

static VOID NTAPI ProcessChanged(_In_ HANDLE Parent, _In_ HANDLE Process, _In_ BOOLEAN Created) {
    UNREFERENCED_PARAMETER(Parent);
    UNREFERENCED_PARAMETER(Process);
    InterlockedIncrement(Created ? &Counts.started : &Counts.ended);
}

static VOID UnmapMemory(VOID) {
    if (UserAddress) {
        MmUnmapLockedPages(UserAddress, Mdl);
    }
    if (Mdl) {
        IoFreeMdl(Mdl);
    }
    if (Page) {
        ExFreePoolWithTag(Page, POOL_TAG);
    }
    UserAddress = Page = NULL;
    Mdl = NULL;
}

static NTSTATUS MapMemory(_Out_ ULONG64 *Address) {
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    UnmapMemory();
    Page = ExAllocatePoolWithTag(NonPagedPool, PAGE_SIZE, POOL_TAG);
    if (Page) {
        RtlZeroMemory(Page, PAGE_SIZE);
        *(ULONG64 *)Page = MARK;
        Mdl = IoAllocateMdl(Page, PAGE_SIZE, FALSE, FALSE, NULL);
    }
    if (Mdl) {
        MmBuildMdlForNonPagedPool(Mdl);
        __try {
            UserAddress = MmMapLockedPagesSpecifyCache(Mdl, UserMode, MmCached, NULL, FALSE, NormalPagePriority);
        } __except (status = GetExceptionCode(), EXCEPTION_EXECUTE_HANDLER) {
            UserAddress = NULL;
        }
    }
    *Address = (ULONG_PTR)UserAddress;
    if (UserAddress) {
        return STATUS_SUCCESS;
    }
    UnmapMemory();
    return status;
}

/* clang delivers a fault to __except only when it happens inside a call. */
static __attribute__((noinline)) VOID Write(_Out_ volatile ULONG64 *To) {
    *To = MARK;
}

static ULONG Attempt(_In_ ULONG64 Address) {
    ULONG status = STATUS_SUCCESS;

    __try {
        Write((volatile ULONG64 *)(ULONG_PTR)Address);
    } __except (status = GetExceptionCode(), EXCEPTION_EXECUTE_HANDLER) {
    }
    return status;
}

static VOID ReadIrql(_Out_ IRQLS *Irqls) {
    KSPIN_LOCK lock;
    KIRQL irql;

    KeInitializeSpinLock(&lock);
    Irqls->before = KeGetCurrentIrql();
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    Irqls->raised = KeGetCurrentIrql();
    KeLowerIrql(irql);
    KeAcquireSpinLock(&lock, &irql);
    Irqls->locked = KeGetCurrentIrql();
    KeReleaseSpinLock(&lock, irql);
    Irqls->after = KeGetCurrentIrql();
}

static VOID GivePool(VOID) {
    for (ULONG i = 0; i < POOL_BLOCKS; i++) {
        if (Blocks[i]) {
            ExFreePoolWithTag(Blocks[i], POOL_TAG);
            Blocks[i] = NULL;
        }
    }
}

static NTSTATUS TakePool(VOID) {
    GivePool();
    for (ULONG i = 0; i < POOL_BLOCKS; i++) {
        Blocks[i] = ExAllocatePoolWithTag(NonPagedPool, POOL_BYTES, POOL_TAG);
        if (Blocks[i] == NULL) {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    return STATUS_SUCCESS;
}

static ULONG IsVerified(VOID) {
    IS_DRIVER_VERIFYING routine = (IS_DRIVER_VERIFYING)Routine(L"MmIsDriverVerifying");

    return routine && routine(Self);
}

static VOID Opened(_In_ PIRP Irp) {
    IS_32BIT_PROCESS routine = (IS_32BIT_PROCESS)Routine(L"IoIs32bitProcess");

    if (routine && routine(Irp)) {
        InterlockedIncrement(&Counts.narrow);
    }
}

/* Answers in place: Size becomes the bytes of the answer. */
static NTSTATUS Control(_In_ ULONG Code, _Inout_ PVOID Buffer, _In_ ULONG Input, _In_ ULONG Room,
                        _Out_ ULONG_PTR *Size) {
    union {
        COUNTS counts;
        IRQLS irqls;
        ULONG64 address;
        ULONG number;
    } answer;
    NTSTATUS status = STATUS_SUCCESS;

    *Size = 0;
    switch (Code) {
        case GET_COUNTS:
            answer.counts = Counts;
            *Size = sizeof(answer.counts);
            break;
        case MAP_MEMORY:
            status = MapMemory(&answer.address);
            *Size = sizeof(answer.address);
            break;
        case UNMAP_MEMORY:
            UnmapMemory();
            break;
        case WRITE_CALLER:
            if (Input != sizeof(ULONG64)) {
                return STATUS_INFO_LENGTH_MISMATCH;
            }
            answer.number = Attempt(*(const ULONG64 *)Buffer);
            *Size = sizeof(answer.number);
            break;
        case READ_IRQL:
            ReadIrql(&answer.irqls);
            *Size = sizeof(answer.irqls);
            break;
        case CATCH_FAULT:
            answer.number = Attempt(0);
            *Size = sizeof(answer.number);
            break;
        case TAKE_POOL:
            status = TakePool();
            break;
        case GIVE_POOL:
            GivePool();
            break;
        case IS_VERIFIED:
            answer.number = IsVerified();
            *Size = sizeof(answer.number);
            break;
        case TAKE_DOWN:
            KeBugCheckEx(0xE2, 1, 2, 3, 4);
        default:
            return STATUS_INVALID_DEVICE_REQUEST;
    }
    if (NT_SUCCESS(status) && Room < *Size) {
        status = STATUS_BUFFER_TOO_SMALL;
    }
    if (!NT_SUCCESS(status)) {
        *Size = 0;
    }
    RtlCopyMemory(Buffer, &answer, *Size);
    return status;
}

NTSTATUS NTAPI Dispatch(_In_ PDEVICE_OBJECT DeviceObject, _Inout_ PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    NTSTATUS status = STATUS_SUCCESS;
    ULONG_PTR size = 0;

    UNREFERENCED_PARAMETER(DeviceObject);
    switch (stack->MajorFunction) {
        case IRP_MJ_CREATE:
            Opened(Irp);
            break;
        case IRP_MJ_CLEANUP:
            InterlockedIncrement(&Counts.cleanups);
            break;
        case IRP_MJ_DEVICE_CONTROL:
            status = Control(stack->Parameters.DeviceIoControl.IoControlCode, Irp->AssociatedIrp.SystemBuffer,
                             stack->Parameters.DeviceIoControl.InputBufferLength,
                             stack->Parameters.DeviceIoControl.OutputBufferLength, &size);
            break;
        default:
            break;
    }
    Irp->IoStatus.Status = status;
    Irp->IoStatus.Information = size;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return status;
}

VOID NTAPI Unload(_In_ PDRIVER_OBJECT DriverObject) {
    if (Notified) {
        PsSetCreateProcessNotifyRoutine(ProcessChanged, TRUE);
    }
    GivePool();
    for (ULONG i = 0; i < ARRAYSIZE(Links); i++) {
        IoDeleteSymbolicLink(&Links[i]);
    }
    while (DriverObject->DeviceObject) {
        IoDeleteDevice(DriverObject->DeviceObject);
    }
}

NTSTATUS NTAPI DriverEntry(_In_ PDRIVER_OBJECT DriverObject, _In_ PUNICODE_STRING RegistryPath) {
    PDEVICE_OBJECT device;
    NTSTATUS status = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(RegistryPath);
    Self = DriverObject;
    for (ULONG i = 0; i < ARRAYSIZE(Names) && NT_SUCCESS(status); i++) {
        status =
            IoCreateDevice(DriverObject, 0, &Names[i], FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, i == 1, &device);
        if (NT_SUCCESS(status)) {
            status = IoCreateSymbolicLink(&Links[i], &Names[i]);
        }
    }
    if (!NT_SUCCESS(status)) {
        Unload(DriverObject);
        return status;
    }
    DriverObject->DriverUnload = Unload;
    DriverObject->MajorFunction[IRP_MJ_CREATE] = Dispatch;
    DriverObject->MajorFunction[IRP_MJ_CLEANUP] = Dispatch;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = Dispatch;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Dispatch;
    Notified = NT_SUCCESS(PsSetCreateProcessNotifyRoutine(ProcessChanged, FALSE));
    return STATUS_SUCCESS;
}
