/* A minifilter that provides names, queues operations, scans sections, and knows volumes and reparse points. */
#include <fltKernel.h>

C_ASSERT(sizeof(FLT_VOLUME_PROPERTIES) == 0x48 && FIELD_OFFSET(FLT_VOLUME_PROPERTIES, RealDeviceName) == 0x38);
C_ASSERT(sizeof(FLT_CALLBACK_DATA_QUEUE) == sizeof(IO_CSQ) + 0x40);
C_ASSERT(FLT_TAG_DATA_BUFFER_HEADER_SIZE == 8 && FIELD_OFFSET(FLT_TAG_DATA_BUFFER, MountPointReparseBuffer.PathBuffer) == 16);
C_ASSERT(sizeof(FILE_RENAME_INFORMATION) == 0x18 && FIELD_OFFSET(FILE_RENAME_INFORMATION, Flags) == 0);
C_ASSERT(FIELD_OFFSET(FLT_PARAMETERS, NetworkQueryOpen.NetworkInformation) == 8);
C_ASSERT(sizeof(FLT_REGISTRATION) == 0x70);

static FLT_CALLBACK_DATA_QUEUE Queue;
static TCHAR Text[] = L"text of either width";

static NTSTATUS FLTAPI Insert(PFLT_CALLBACK_DATA_QUEUE Cbdq, PFLT_CALLBACK_DATA Data, PVOID Context) {
    UNREFERENCED_PARAMETER(Cbdq);
    UNREFERENCED_PARAMETER(Context);
    return IS_ALIGNED(Data, 8) && FltIsIoCanceled(Data) ? STATUS_CANCELLED : STATUS_SUCCESS;
}
static NTSTATUS FLTAPI Name(PFLT_INSTANCE Instance, PFILE_OBJECT File, PFLT_CALLBACK_DATA Data,
                            FLT_FILE_NAME_OPTIONS Options, PBOOLEAN Cache, PFLT_NAME_CONTROL Control) {
    FLT_VOLUME_PROPERTIES properties;
    PFLT_VOLUME volume;
    ULONG length;

    UNREFERENCED_PARAMETER(Instance);
    UNREFERENCED_PARAMETER(Data);
    *Cache = FltGetFileNameFormat(Options) == FLT_FILE_NAME_NORMALIZED;
    if (NT_SUCCESS(FltGetVolumeFromInstance(Instance, &volume))) {
        FltGetVolumeProperties(volume, &properties, sizeof(properties), &length);
        FltObjectDereference(volume);
    }
    return FltSupportsStreamHandleContexts(File) ? FltCheckAndGrowNameControl(Control, sizeof(Text)) : STATUS_SUCCESS;
}
static NTSTATUS FLTAPI Changed(PCFLT_RELATED_OBJECTS Objects, PFLT_CONTEXT Context, ULONG Mask) {
    return Mask ? FltCommitComplete(Objects->Instance, Objects->Transaction, Context) : STATUS_SUCCESS;
}
static FLT_REGISTRATION Registration = {.Size = sizeof(FLT_REGISTRATION), .GenerateFileNameCallback = Name,
                                        .TransactionNotificationCallback = Changed};

VOID Use(PFLT_INSTANCE Instance, PFLT_FILTER Filter, PFLT_CALLBACK_DATA Data, PFLT_CALLBACK_DATA_QUEUE_IO_CONTEXT At) {
    PECP_LIST list;

    FltCbdqInitialize(Instance, &Queue, Insert, NULL, NULL, NULL, NULL, NULL);
    FltCbdqInsertIo(&Queue, Data, At, Add2Ptr(Data, 8));
    FltCbdqDisable(&Queue);
    FltRequestOperationStatusCallback(Data, NULL, NULL);
    FltRegisterForDataScan(Instance);
    if (NT_SUCCESS(FltGetEcpListFromCallbackData(Filter, Data, &list)) && list) {
        FltFreeExtraCreateParameterList(Filter, list);
    }
}
NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    PFLT_FILTER filter;
    UNREFERENCED_PARAMETER(Path);
    return FltRegisterFilter(Driver, &Registration, &filter);
}
