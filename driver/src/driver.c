/*
 * driver.c - the part all devices share (the shell): DriverEntry, unload, and the dispatch routine that finds
 * the handler of an IRP and completes it.
 */
#include "winvm.h"

/* Without a pragma the mingw target exports nothing; the linker gets the name of the entry point as an option. */
DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD WinvmUnload;
DRIVER_DISPATCH WinvmDispatch;

static const WINVM_CLASS *const Classes[] = {
    &WinvmHelloClass,    &WinvmCr42Class,     &WinvmLySharkClass, &WinvmWinDdkClass,
    &WinvmProcLookClass, &WinvmMsgBoardClass, &WinvmSyncClass,    &WinvmAsyncClass,
#ifdef WINVM_FAULT
    &WinvmFaultClass,
#endif
};

#ifdef WINVM_FAULT
#define WINVM_BUILD "fault"
#else
#define WINVM_BUILD "release"
#endif

_IRQL_requires_max_(DISPATCH_LEVEL) VOID
    WinvmComplete(_Inout_ PIRP Irp, _In_ NTSTATUS Status, _In_ ULONG_PTR Information) {
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = NT_ERROR(Status) ? 0 : Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
}

_IRQL_requires_max_(PASSIVE_LEVEL) static WINVM_PAGED VOID
    CleanupFile(_Inout_ WINVM_DEVICE *Device, _Inout_ WINVM_FILE *File, _In_ PFILE_OBJECT FileObject) {
    PAGED_CODE();
    if (InterlockedExchange(&File->CleanedUp, TRUE)) {
        return;
    }
    if (Device->Class->Cleanup) {
        Device->Class->Cleanup(Device, File, FileObject);
    }
    InterlockedDecrement(&Device->Opens);
}

_IRQL_requires_max_(PASSIVE_LEVEL) static WINVM_PAGED NTSTATUS
    OpenFile(_Inout_ WINVM_DEVICE *Device, _Inout_ PFILE_OBJECT FileObject) {
    const WINVM_CLASS *class = Device->Class;
    NTSTATUS status = STATUS_SUCCESS;

    PAGED_CODE();
    if (FileObject->FileName.Length != 0) {
        return STATUS_OBJECT_NAME_NOT_FOUND; /* the devices have no namespace of their own */
    }
    /* Wine ignores IoCreateDevice's Exclusive. */
    if (InterlockedIncrement(&Device->Opens) != 1 && class->Exclusive) {
        InterlockedDecrement(&Device->Opens);
        DbgPrint("winvm: %s: second open refused\n", class->Name);
        return STATUS_ACCESS_DENIED;
    }
    WINVM_FILE *file =
        ExAllocatePoolWithTag(NonPagedPoolNx, WINVM_FILE_STATE_OFFSET + class->FileStateSize, WINVM_POOL_TAG);
    if (file == NULL) {
        InterlockedDecrement(&Device->Opens);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlZeroMemory(file, WINVM_FILE_STATE_OFFSET + class->FileStateSize);
    if (class->Open) {
        status = class->Open(Device, file);
    }
    if (!NT_SUCCESS(status)) {
        InterlockedDecrement(&Device->Opens);
        ExFreePoolWithTag(file, WINVM_POOL_TAG);
        return status;
    }
    FileObject->FsContext = file;
    DbgPrint("winvm: %s: opened\n", class->Name);
    return STATUS_SUCCESS;
}

_IRQL_requires_max_(PASSIVE_LEVEL) static WINVM_PAGED VOID
    CloseFile(_Inout_ WINVM_DEVICE *Device, _Inout_ PFILE_OBJECT FileObject) {
    WINVM_FILE *file = FileObject->FsContext;

    PAGED_CODE();
    CleanupFile(Device, file, FileObject);
    FileObject->FsContext = NULL;
    ExFreePoolWithTag(file, WINVM_POOL_TAG);
    DbgPrint("winvm: %s: closed\n", Device->Class->Name);
}

static NTSTATUS Control(_Inout_ WINVM_REQUEST *Request) {
    const WINVM_CLASS *class = Request->Device->Class;
    ULONG code = Request->Stack->Parameters.DeviceIoControl.IoControlCode;

    for (ULONG i = 0; i < class->ControlCount; i++) {
        if (class->Controls[i].Code == code) {
            return class->Controls[i].Handler(Request);
        }
    }
    DbgPrint("winvm: %s: no control code 0x%08X\n", class->Name, code);
    return STATUS_INVALID_DEVICE_REQUEST;
}

_Dispatch_type_(IRP_MJ_CREATE) _Dispatch_type_(IRP_MJ_CLEANUP) _Dispatch_type_(IRP_MJ_CLOSE)
    _Dispatch_type_(IRP_MJ_READ) _Dispatch_type_(IRP_MJ_WRITE) _Dispatch_type_(IRP_MJ_DEVICE_CONTROL) NTSTATUS NTAPI
    WinvmDispatch(_In_ PDEVICE_OBJECT DeviceObject, _Inout_ PIRP Irp) {
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    WINVM_DEVICE *device = DeviceObject->DeviceExtension;
    WINVM_REQUEST request = {device, NULL, Irp, stack, 0};
    const WINVM_CLASS *class = device->Class;
    NTSTATUS status = STATUS_INVALID_DEVICE_REQUEST;

    if (stack->FileObject && stack->MajorFunction != IRP_MJ_CREATE) {
        request.File = stack->FileObject->FsContext;
    }
    if (stack->FileObject == NULL || (request.File == NULL && stack->MajorFunction != IRP_MJ_CREATE)) {
        WinvmComplete(Irp, STATUS_INVALID_HANDLE, 0);
        return STATUS_INVALID_HANDLE;
    }
    switch (stack->MajorFunction) {
        case IRP_MJ_CREATE:
            status = OpenFile(device, stack->FileObject);
            break;
        case IRP_MJ_CLEANUP:
            CleanupFile(device, request.File, stack->FileObject);
            status = STATUS_SUCCESS;
            break;
        case IRP_MJ_CLOSE:
            CloseFile(device, stack->FileObject);
            status = STATUS_SUCCESS;
            break;
        case IRP_MJ_READ:
            status = class->Read ? class->Read(&request) : STATUS_INVALID_DEVICE_REQUEST;
            break;
        case IRP_MJ_WRITE:
            status = class->Write ? class->Write(&request) : STATUS_INVALID_DEVICE_REQUEST;
            break;
        case IRP_MJ_DEVICE_CONTROL:
            status = Control(&request);
            break;
        default:
            DbgPrint("winvm: %s: default handler, major function 0x%02X\n", class->Name, stack->MajorFunction);
            break;
    }
    if (status != STATUS_PENDING) {
        WinvmComplete(Irp, status, request.Information);
    }
    return status;
}

_IRQL_requires_max_(PASSIVE_LEVEL) static WINVM_PAGED VOID DeleteDevices(_Inout_ PDRIVER_OBJECT DriverObject) {
    PAGED_CODE();
    while (DriverObject->DeviceObject) {
        WINVM_DEVICE *device = DriverObject->DeviceObject->DeviceExtension;

        if (device->Link.Buffer) {
            IoDeleteSymbolicLink(&device->Link);
        }
        if (device->Started && device->Class->Stop) {
            device->Class->Stop(device);
        }
        IoDeleteDevice(DriverObject->DeviceObject);
    }
}

_IRQL_requires_max_(PASSIVE_LEVEL) static WINVM_INIT NTSTATUS
    CreateDevice(_Inout_ PDRIVER_OBJECT DriverObject, _In_ const WINVM_CLASS *Class) {
    UNICODE_STRING name;
    UNICODE_STRING link;
    PDEVICE_OBJECT deviceObject;

    RtlInitUnicodeString(&name, Class->DeviceName);
    RtlInitUnicodeString(&link, Class->LinkName);
    NTSTATUS status = IoCreateDevice(DriverObject, sizeof(WINVM_DEVICE) + Class->StateSize, &name, FILE_DEVICE_UNKNOWN,
                                     FILE_DEVICE_SECURE_OPEN, Class->Exclusive, &deviceObject);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    WINVM_DEVICE *device = deviceObject->DeviceExtension;
    device->Class = Class;
    device->DeviceObject = deviceObject;
    deviceObject->Flags |= Class->IoFlags;

    status = WinvmSecureDevice(deviceObject, Class->AdministratorsOnly);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (Class->Start) {
        status = Class->Start(device);
        if (!NT_SUCCESS(status)) {
            return status;
        }
    }
    device->Started = TRUE;
    status = IoCreateSymbolicLink(&link, &name);
    if (NT_SUCCESS(status)) {
        device->Link = link;
    }
    return status;
}

VOID NTAPI WINVM_PAGED WinvmUnload(_In_ PDRIVER_OBJECT DriverObject) {
    PAGED_CODE();
    DeleteDevices(DriverObject);
    DbgPrint("winvm: unloaded\n");
}

NTSTATUS NTAPI WINVM_INIT DriverEntry(_In_ PDRIVER_OBJECT DriverObject, _In_ PUNICODE_STRING RegistryPath) {
    UNREFERENCED_PARAMETER(RegistryPath);

    for (ULONG i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++) {
        DriverObject->MajorFunction[i] = WinvmDispatch;
    }
    DriverObject->DriverUnload = WinvmUnload;
    for (ULONG i = 0; i < ARRAYSIZE(Classes); i++) {
        NTSTATUS status = CreateDevice(DriverObject, Classes[i]);
        if (!NT_SUCCESS(status)) {
            DbgPrint("winvm: DriverEntry failed, device %s status 0x%08X\n", Classes[i]->Name, status);
            DeleteDevices(DriverObject);
            return status;
        }
    }
    DbgPrint("winvm: DriverEntry, %s build, contract %u, %u devices\n", WINVM_BUILD, WINVM_CONTRACT_VERSION,
             (ULONG)ARRAYSIZE(Classes));
    return STATUS_SUCCESS;
}
