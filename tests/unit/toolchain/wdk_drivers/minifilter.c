/* A minifilter: registration, names, contexts, a port. */
#include <FltKernel.h>
#include <dontuse.h>
#include <suppress.h>

static PFLT_FILTER Filter;
static PFLT_PORT Port;
C_ASSERT(sizeof(FLT_CALLBACK_DATA) == 0x58 && FIELD_OFFSET(FLT_CALLBACK_DATA, IoStatus) == 0x18);
C_ASSERT(FIELD_OFFSET(FLT_IO_PARAMETER_BLOCK, Parameters) == 0x18);
C_ASSERT(sizeof(FLT_RELATED_OBJECTS) == 0x30 && sizeof(FLT_OPERATION_REGISTRATION) == 0x20);
C_ASSERT(sizeof(FLT_CONTEXT_REGISTRATION) == 0x38 && sizeof(FLT_REGISTRATION) == 0x70);
C_ASSERT(sizeof(FLT_FILE_NAME_INFORMATION) == 0x78);
C_ASSERT(FIELD_OFFSET(FLT_PARAMETERS, Create.AllocationSize) == 0x28);
C_ASSERT(FIELD_OFFSET(FLT_PARAMETERS, Read.ReadBuffer) == 0x18);
C_ASSERT(FIELD_OFFSET(FLT_PARAMETERS, SetFileInformation.InfoBuffer) == 0x20);
C_ASSERT(FIELD_OFFSET(FLT_PARAMETERS, DirectoryControl.QueryDirectory.DirectoryBuffer) == 0x20);
C_ASSERT(FIELD_OFFSET(FLT_PARAMETERS, DeviceIoControl.Direct.OutputMdlAddress) == 0x28);

static FLT_PREOP_CALLBACK_STATUS FLTAPI Before(PFLT_CALLBACK_DATA Data, PCFLT_RELATED_OBJECTS Objects, PVOID *Context) {
    PFLT_FILE_NAME_INFORMATION name;
    PFLT_CONTEXT stream;

    UNREFERENCED_PARAMETER(Context);
    if (FLT_IS_FASTIO_OPERATION(Data) || Data->RequestorMode == KernelMode) {
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    }
    if (NT_SUCCESS(FltGetFileNameInformation(Data, FLT_FILE_NAME_NORMALIZED | FLT_FILE_NAME_QUERY_DEFAULT, &name))) {
        FltParseFileNameInformation(name);
        DbgPrint("%wZ\n", &name->FinalComponent);
        FltReleaseFileNameInformation(name);
    }
    if (NT_SUCCESS(FltGetStreamContext(Objects->Instance, Objects->FileObject, &stream))) {
        FltReleaseContext(stream);
    }
    return FLT_PREOP_SUCCESS_WITH_CALLBACK;
}

static FLT_POSTOP_CALLBACK_STATUS FLTAPI After(PFLT_CALLBACK_DATA Data, PCFLT_RELATED_OBJECTS Objects, PVOID Context,
                                               FLT_POST_OPERATION_FLAGS Flags) {
    UNREFERENCED_PARAMETER(Objects);
    UNREFERENCED_PARAMETER(Context);
    if (!FlagOn(Flags, FLTFL_POST_OPERATION_DRAINING) && Data->Iopb->MajorFunction == IRP_MJ_CREATE) {
        Data->IoStatus.Information = 0;
        FltSetCallbackDataDirty(Data);
    }
    return FLT_POSTOP_FINISHED_PROCESSING;
}

static NTSTATUS FLTAPI Setup(PCFLT_RELATED_OBJECTS Objects, FLT_INSTANCE_SETUP_FLAGS Flags, DEVICE_TYPE Type,
                             FLT_FILESYSTEM_TYPE FileSystem) {
    UNREFERENCED_PARAMETER(Objects);
    UNREFERENCED_PARAMETER(Flags);
    return Type == FILE_DEVICE_DISK_FILE_SYSTEM && FileSystem == FLT_FSTYPE_NTFS ? STATUS_SUCCESS
                                                                                  : STATUS_FLT_DO_NOT_ATTACH;
}

static NTSTATUS FLTAPI Unload(FLT_FILTER_UNLOAD_FLAGS Flags) {
    UNREFERENCED_PARAMETER(Flags);
    FltCloseCommunicationPort(Port);
    FltUnregisterFilter(Filter);
    return STATUS_SUCCESS;
}

static const FLT_CONTEXT_REGISTRATION Contexts[] = {
    {FLT_STREAM_CONTEXT, 0, NULL, 16, 'tset', NULL, NULL, NULL},
    {FLT_CONTEXT_END},
};
static const FLT_OPERATION_REGISTRATION Operations[] = {
    {IRP_MJ_CREATE, 0, Before, After, NULL},
    {IRP_MJ_ACQUIRE_FOR_SECTION_SYNCHRONIZATION, 0, Before, NULL, NULL},
    {IRP_MJ_OPERATION_END},
};
static const FLT_REGISTRATION Registration = {
    sizeof(FLT_REGISTRATION), FLT_REGISTRATION_VERSION, 0, Contexts, Operations, Unload, Setup,
};

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\TestPort");
    OBJECT_ATTRIBUTES attributes;
    PSECURITY_DESCRIPTOR descriptor;
    NTSTATUS status = FltRegisterFilter(Driver, &Registration, &Filter);

    UNREFERENCED_PARAMETER(Path);
    if (NT_SUCCESS(status) && NT_SUCCESS(status = FltBuildDefaultSecurityDescriptor(&descriptor, FLT_PORT_ALL_ACCESS))) {
        InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE, NULL, descriptor);
        status = FltCreateCommunicationPort(Filter, &Port, &attributes, NULL, NULL, NULL, NULL, 1);
        FltFreeSecurityDescriptor(descriptor);
    }
    return NT_SUCCESS(status) ? FltStartFiltering(Filter) : status;
}
