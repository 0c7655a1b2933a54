/* Routines of the filter manager. */
#pragma once

/* Registration, and the objects that the filter manager keeps. */
NTSTATUS FLTAPI FltRegisterFilter(PDRIVER_OBJECT Driver, CONST FLT_REGISTRATION *Registration, PFLT_FILTER *Filter);
VOID FLTAPI FltUnregisterFilter(PFLT_FILTER Filter);
NTSTATUS FLTAPI FltStartFiltering(PFLT_FILTER Filter);
NTSTATUS FLTAPI FltLoadFilter(PCUNICODE_STRING FilterName);
NTSTATUS FLTAPI FltUnloadFilter(PCUNICODE_STRING FilterName);
NTSTATUS FLTAPI FltObjectReference(PVOID FltObject);
VOID FLTAPI FltObjectDereference(PVOID FltObject);
NTSTATUS FLTAPI FltAttachVolume(PFLT_FILTER Filter, PFLT_VOLUME Volume, PCUNICODE_STRING InstanceName,
                                PFLT_INSTANCE *Instance);
NTSTATUS FLTAPI FltDetachVolume(PFLT_FILTER Filter, PFLT_VOLUME Volume, PCUNICODE_STRING InstanceName);
NTSTATUS FLTAPI FltEnumerateVolumes(PFLT_FILTER Filter, PFLT_VOLUME *List, ULONG Size, PULONG Returned);
NTSTATUS FLTAPI FltEnumerateInstances(PFLT_VOLUME Volume, PFLT_FILTER Filter, PFLT_INSTANCE *List, ULONG Size,
                                      PULONG Returned);
NTSTATUS FLTAPI FltGetVolumeFromName(PFLT_FILTER Filter, PCUNICODE_STRING Name, PFLT_VOLUME *Volume);
NTSTATUS FLTAPI FltGetVolumeName(PFLT_VOLUME Volume, PUNICODE_STRING Name, PULONG NeededSize);
NTSTATUS FLTAPI FltGetVolumeGuidName(PFLT_VOLUME Volume, PUNICODE_STRING Name, PULONG NeededSize);
NTSTATUS FLTAPI FltGetFileSystemType(PVOID FltObject, PFLT_FILESYSTEM_TYPE Type);
NTSTATUS FLTAPI FltGetDeviceObject(PFLT_VOLUME Volume, PDEVICE_OBJECT *Device);
NTSTATUS FLTAPI FltGetDiskDeviceObject(PFLT_VOLUME Volume, PDEVICE_OBJECT *Device);
NTSTATUS FLTAPI FltIsVolumeWritable(PVOID FltObject, PBOOLEAN IsWritable);

/* The operation at hand. */
VOID FLTAPI FltSetCallbackDataDirty(PFLT_CALLBACK_DATA Data);
VOID FLTAPI FltClearCallbackDataDirty(PFLT_CALLBACK_DATA Data);
BOOLEAN FLTAPI FltIsCallbackDataDirty(PFLT_CALLBACK_DATA Data);
BOOLEAN FLTAPI FltIsOperationSynchronous(PFLT_CALLBACK_DATA Data);
BOOLEAN FLTAPI FltIs32bitProcess(PFLT_CALLBACK_DATA Data);
PEPROCESS FLTAPI FltGetRequestorProcess(PFLT_CALLBACK_DATA Data);
ULONG FLTAPI FltGetRequestorProcessId(PFLT_CALLBACK_DATA Data);
HANDLE FLTAPI FltGetRequestorProcessIdEx(PFLT_CALLBACK_DATA Data);
PCHAR FLTAPI FltGetIrpName(UCHAR MajorFunction);
NTSTATUS FLTAPI FltLockUserBuffer(PFLT_CALLBACK_DATA Data);
NTSTATUS FLTAPI FltDecodeParameters(PFLT_CALLBACK_DATA Data, PMDL **MdlAddress, PVOID **Buffer, PULONG *Length,
                                    LOCK_OPERATION *DesiredAccess);
PMDL FLTAPI FltGetSwappedBufferMdlAddress(PFLT_CALLBACK_DATA Data);
VOID FLTAPI FltRetainSwappedBufferMdlAddress(PFLT_CALLBACK_DATA Data);
BOOLEAN FLTAPI FltDoCompletionProcessingWhenSafe(PFLT_CALLBACK_DATA Data, PCFLT_RELATED_OBJECTS FltObjects,
                                                 PVOID CompletionContext, FLT_POST_OPERATION_FLAGS Flags,
                                                 PFLT_POST_OPERATION_CALLBACK SafePostCallback,
                                                 PFLT_POSTOP_CALLBACK_STATUS ReturnStatus);
VOID FLTAPI FltCompletePendedPreOperation(PFLT_CALLBACK_DATA Data, FLT_PREOP_CALLBACK_STATUS Status, PVOID Context);
VOID FLTAPI FltCompletePendedPostOperation(PFLT_CALLBACK_DATA Data);
VOID FLTAPI FltCancelFileOpen(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject);

/* Names of files. */
NTSTATUS FLTAPI FltGetFileNameInformation(PFLT_CALLBACK_DATA Data, FLT_FILE_NAME_OPTIONS NameOptions,
                                          PFLT_FILE_NAME_INFORMATION *Information);
NTSTATUS FLTAPI FltGetFileNameInformationUnsafe(PFILE_OBJECT FileObject, PFLT_INSTANCE Instance,
                                                FLT_FILE_NAME_OPTIONS NameOptions,
                                                PFLT_FILE_NAME_INFORMATION *Information);
NTSTATUS FLTAPI FltGetDestinationFileNameInformation(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject,
                                                     HANDLE RootDirectory, PWSTR FileName, ULONG FileNameLength,
                                                     FLT_FILE_NAME_OPTIONS NameOptions,
                                                     PFLT_FILE_NAME_INFORMATION *Information);
NTSTATUS FLTAPI FltGetTunneledName(PFLT_CALLBACK_DATA Data, PFLT_FILE_NAME_INFORMATION Information,
                                   PFLT_FILE_NAME_INFORMATION *Tunneled);
NTSTATUS FLTAPI FltParseFileNameInformation(PFLT_FILE_NAME_INFORMATION Information);
NTSTATUS FLTAPI FltParseFileName(PCUNICODE_STRING FileName, PUNICODE_STRING Extension, PUNICODE_STRING Stream,
                                 PUNICODE_STRING FinalComponent);
VOID FLTAPI FltReferenceFileNameInformation(PFLT_FILE_NAME_INFORMATION Information);
VOID FLTAPI FltReleaseFileNameInformation(PFLT_FILE_NAME_INFORMATION Information);

/* Contexts. */
NTSTATUS FLTAPI FltAllocateContext(PFLT_FILTER Filter, FLT_CONTEXT_TYPE Type, SIZE_T Size, POOL_TYPE Pool,
                                   PFLT_CONTEXT *Context);
VOID FLTAPI FltReferenceContext(PFLT_CONTEXT Context);
VOID FLTAPI FltReleaseContext(PFLT_CONTEXT Context);
VOID FLTAPI FltDeleteContext(PFLT_CONTEXT Context);
#define WINVM_STREAM_CONTEXT(name)                                                                                     \
    NTSTATUS FLTAPI FltSet##name##Context(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject,                             \
                                          FLT_SET_CONTEXT_OPERATION Operation, PFLT_CONTEXT NewContext,                \
                                          PFLT_CONTEXT *OldContext);                                                   \
    NTSTATUS FLTAPI FltGet##name##Context(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, PFLT_CONTEXT *Context);     \
    NTSTATUS FLTAPI FltDelete##name##Context(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, PFLT_CONTEXT *OldContext)
WINVM_STREAM_CONTEXT(File);
WINVM_STREAM_CONTEXT(Stream);
WINVM_STREAM_CONTEXT(StreamHandle);
NTSTATUS FLTAPI FltSetInstanceContext(PFLT_INSTANCE Instance, FLT_SET_CONTEXT_OPERATION Operation,
                                      PFLT_CONTEXT NewContext, PFLT_CONTEXT *OldContext);
NTSTATUS FLTAPI FltGetInstanceContext(PFLT_INSTANCE Instance, PFLT_CONTEXT *Context);
NTSTATUS FLTAPI FltDeleteInstanceContext(PFLT_INSTANCE Instance, PFLT_CONTEXT *OldContext);
NTSTATUS FLTAPI FltSetVolumeContext(PFLT_VOLUME Volume, FLT_SET_CONTEXT_OPERATION Operation, PFLT_CONTEXT NewContext,
                                    PFLT_CONTEXT *OldContext);
NTSTATUS FLTAPI FltGetVolumeContext(PFLT_FILTER Filter, PFLT_VOLUME Volume, PFLT_CONTEXT *Context);
NTSTATUS FLTAPI FltDeleteVolumeContext(PFLT_FILTER Filter, PFLT_VOLUME Volume, PFLT_CONTEXT *OldContext);

/* Input and output of the minifilter's own. */
NTSTATUS FLTAPI FltCreateFile(PFLT_FILTER Filter, PFLT_INSTANCE Instance, PHANDLE FileHandle, ACCESS_MASK Access,
                              POBJECT_ATTRIBUTES Attributes, PIO_STATUS_BLOCK IoStatus, PLARGE_INTEGER AllocationSize,
                              ULONG FileAttributes, ULONG ShareAccess, ULONG Disposition, ULONG Options, PVOID EaBuffer,
                              ULONG EaLength, ULONG Flags);
NTSTATUS FLTAPI FltCreateFileEx(PFLT_FILTER Filter, PFLT_INSTANCE Instance, PHANDLE FileHandle,
                                PFILE_OBJECT *FileObject, ACCESS_MASK Access, POBJECT_ATTRIBUTES Attributes,
                                PIO_STATUS_BLOCK IoStatus, PLARGE_INTEGER AllocationSize, ULONG FileAttributes,
                                ULONG ShareAccess, ULONG Disposition, ULONG Options, PVOID EaBuffer, ULONG EaLength,
                                ULONG Flags);
NTSTATUS FLTAPI FltClose(HANDLE FileHandle);
NTSTATUS FLTAPI FltReadFile(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, PLARGE_INTEGER ByteOffset, ULONG Length,
                            PVOID Buffer, FLT_IO_OPERATION_FLAGS Flags, PULONG BytesRead,
                            PFLT_COMPLETED_ASYNC_IO_CALLBACK Callback, PVOID CallbackContext);
NTSTATUS FLTAPI FltWriteFile(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, PLARGE_INTEGER ByteOffset, ULONG Length,
                             PVOID Buffer, FLT_IO_OPERATION_FLAGS Flags, PULONG BytesWritten,
                             PFLT_COMPLETED_ASYNC_IO_CALLBACK Callback, PVOID CallbackContext);
NTSTATUS FLTAPI FltQueryInformationFile(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, PVOID Information,
                                        ULONG Length, FILE_INFORMATION_CLASS Class, PULONG LengthReturned);
NTSTATUS FLTAPI FltSetInformationFile(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, PVOID Information, ULONG Length,
                                      FILE_INFORMATION_CLASS Class);
NTSTATUS FLTAPI FltQueryVolumeInformation(PFLT_INSTANCE Instance, PIO_STATUS_BLOCK IoStatus, PVOID Information,
                                          ULONG Length, FS_INFORMATION_CLASS Class);
NTSTATUS FLTAPI FltFsControlFile(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, ULONG Code, PVOID Input,
                                 ULONG InputLength, PVOID Output, ULONG OutputLength, PULONG LengthReturned);
NTSTATUS FLTAPI FltDeviceIoControlFile(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, ULONG Code, PVOID Input,
                                       ULONG InputLength, PVOID Output, ULONG OutputLength, PULONG LengthReturned);
NTSTATUS FLTAPI FltFlushBuffers(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject);
NTSTATUS FLTAPI FltIsDirectory(PFILE_OBJECT FileObject, PFLT_INSTANCE Instance, PBOOLEAN IsDirectory);
NTSTATUS FLTAPI FltAllocateCallbackData(PFLT_INSTANCE Instance, PFILE_OBJECT FileObject, PFLT_CALLBACK_DATA *Data);
VOID FLTAPI FltFreeCallbackData(PFLT_CALLBACK_DATA Data);
VOID FLTAPI FltReuseCallbackData(PFLT_CALLBACK_DATA Data);
VOID FLTAPI FltReissueSynchronousIo(PFLT_INSTANCE Instance, PFLT_CALLBACK_DATA Data);
VOID FLTAPI FltPerformSynchronousIo(PFLT_CALLBACK_DATA Data);
PVOID FLTAPI FltAllocatePoolAlignedWithTag(PFLT_INSTANCE Instance, POOL_TYPE Pool, SIZE_T Size, ULONG Tag);
VOID FLTAPI FltFreePoolAlignedWithTag(PFLT_INSTANCE Instance, PVOID Buffer, ULONG Tag);

/* Work items. */
PFLT_GENERIC_WORKITEM FLTAPI FltAllocateGenericWorkItem(VOID);
VOID FLTAPI FltFreeGenericWorkItem(PFLT_GENERIC_WORKITEM WorkItem);
NTSTATUS FLTAPI FltQueueGenericWorkItem(PFLT_GENERIC_WORKITEM WorkItem, PVOID FltObject,
                                        PFLT_GENERIC_WORKITEM_ROUTINE Routine, WORK_QUEUE_TYPE Queue, PVOID Context);
PFLT_DEFERRED_IO_WORKITEM FLTAPI FltAllocateDeferredIoWorkItem(VOID);
VOID FLTAPI FltFreeDeferredIoWorkItem(PFLT_DEFERRED_IO_WORKITEM WorkItem);
NTSTATUS FLTAPI FltQueueDeferredIoWorkItem(PFLT_DEFERRED_IO_WORKITEM WorkItem, PFLT_CALLBACK_DATA Data,
                                           PFLT_DEFERRED_IO_WORKITEM_ROUTINE Routine, WORK_QUEUE_TYPE Queue,
                                           PVOID Context);

/* Communication with a program. */
NTSTATUS FLTAPI FltCreateCommunicationPort(PFLT_FILTER Filter, PFLT_PORT *ServerPort, POBJECT_ATTRIBUTES Attributes,
                                           PVOID Cookie, PFLT_CONNECT_NOTIFY Connect,
                                           PFLT_DISCONNECT_NOTIFY Disconnect, PFLT_MESSAGE_NOTIFY Message,
                                           LONG MaxConnections);
VOID FLTAPI FltCloseCommunicationPort(PFLT_PORT ServerPort);
VOID FLTAPI FltCloseClientPort(PFLT_FILTER Filter, PFLT_PORT *ClientPort);
NTSTATUS FLTAPI FltSendMessage(PFLT_FILTER Filter, PFLT_PORT *ClientPort, PVOID Sender, ULONG SenderLength, PVOID Reply,
                               PULONG ReplyLength, PLARGE_INTEGER Timeout);
NTSTATUS FLTAPI FltBuildDefaultSecurityDescriptor(PSECURITY_DESCRIPTOR *Descriptor, ACCESS_MASK Access);
VOID FLTAPI FltFreeSecurityDescriptor(PSECURITY_DESCRIPTOR Descriptor);
PVOID FLTAPI FltGetRoutineAddress(PCSTR RoutineName);

/* Locks. */
VOID FLTAPI FltInitializePushLock(PEX_PUSH_LOCK PushLock);
VOID FLTAPI FltDeletePushLock(PEX_PUSH_LOCK PushLock);
VOID FLTAPI FltAcquirePushLockExclusive(PEX_PUSH_LOCK PushLock);
VOID FLTAPI FltAcquirePushLockShared(PEX_PUSH_LOCK PushLock);
VOID FLTAPI FltReleasePushLock(PEX_PUSH_LOCK PushLock);
VOID FLTAPI FltAcquireResourceExclusive(PERESOURCE Resource);
VOID FLTAPI FltAcquireResourceShared(PERESOURCE Resource);
VOID FLTAPI FltReleaseResource(PERESOURCE Resource);
