/*
 * winvm.h - the shell's interface to the devices: class of a device, request, queue of pending IRPs, transfers.
 *
 * Every device is one C file that exports one WINVM_CLASS. driver.c creates the devices, routes IRPs to the class's
 * handlers and completes them; a handler never calls IoCompleteRequest on the IRP it was given.
 */
#pragma once

#include <intrin.h>
/* mingw-w64's wdm.h defines these again; as extensions of the ones above they would be exported by every object. */
#define InterlockedBitTestAndSet WdmInterlockedBitTestAndSet
#define InterlockedBitTestAndReset WdmInterlockedBitTestAndReset
#include <ntifs.h>
#undef InterlockedBitTestAndSet
#undef InterlockedBitTestAndReset
#include <driverspecs.h>

#include "winvm_contract.h"

/* SAL annotations that the mingw-w64 headers do not define. */
#ifndef _Dispatch_type_
#define _Dispatch_type_(type)
#endif
#ifndef _Requires_lock_held_
#define _Requires_lock_held_(lock)
#endif

#ifndef MdlMappingNoExecute
#define MdlMappingNoExecute 0x40000000
#endif

/* clang's mingw target has no alloc_text; sections do the same. INIT is discarded after DriverEntry returned. */
#define WINVM_INIT __attribute__((section("INIT"), noinline))
#define WINVM_PAGED __attribute__((section("PAGE"), noinline))

#define WINVM_POOL_TAG 'mvnW'

typedef struct WINVM_CLASS WINVM_CLASS;

/* Device extension; the class's own state of StateSize bytes follows it, zeroed. */
typedef struct WINVM_DEVICE {
    const WINVM_CLASS *Class;
    PDEVICE_OBJECT DeviceObject;
    UNICODE_STRING Link; /* empty until the symbolic link exists */
    BOOLEAN Started;
    LONG Opens; /* handles not yet cleaned up */
} WINVM_DEVICE;

/* FsContext of an open file; the class's own state of FileStateSize bytes follows it, zeroed. */
typedef struct WINVM_FILE {
    LONG CleanedUp; /* Wine sends CLOSE without CLEANUP; whichever comes first cleans up */
} WINVM_FILE;

#define WINVM_STATE(type, device) ((type *)(void *)((WINVM_DEVICE *)(device) + 1))
#define WINVM_FILE_STATE(type, file) ((type *)(void *)((char *)(file) + WINVM_FILE_STATE_OFFSET))
#define WINVM_FILE_STATE_OFFSET 16

typedef struct WINVM_REQUEST {
    WINVM_DEVICE *Device;
    WINVM_FILE *File;
    PIRP Irp;
    PIO_STACK_LOCATION Stack;
    ULONG_PTR Information; /* bytes transferred; forced to 0 when the handler returns an error */
} WINVM_REQUEST;

/* Returns the request's final status, or STATUS_PENDING after WinvmQueueInsert took the IRP. */
typedef NTSTATUS WINVM_HANDLER(_Inout_ WINVM_REQUEST *Request);

typedef struct WINVM_CONTROL {
    ULONG Code;
    ULONG RequiredAccess;
    WINVM_HANDLER *Handler;
} WINVM_CONTROL;

/* The I/O manager enforces the access bits inside a code, so a row whose code demands less does not compile. */
#define WINVM_CODE_ACCESS(code) (((ULONG)(code) >> 14) & (FILE_READ_ACCESS | FILE_WRITE_ACCESS))
#define WINVM_CONTROL_ROW(code, access, handler) \
    {(ULONG)(code), (access) + 0 * sizeof(char[WINVM_CODE_ACCESS(code) == (access) ? 1 : -1]), handler}

struct WINVM_CLASS {
    PCSTR Name; /* in log lines */
    PCWSTR DeviceName;
    PCWSTR LinkName;
    ULONG IoFlags; /* DO_BUFFERED_IO or DO_DIRECT_IO */
    BOOLEAN Exclusive;
    BOOLEAN AdministratorsOnly;
    ULONG StateSize;
    ULONG FileStateSize;
    NTSTATUS (*Start)(_Inout_ WINVM_DEVICE *Device);
    VOID (*Stop)(_Inout_ WINVM_DEVICE *Device); /* only after a Start that succeeded */
    NTSTATUS (*Open)(_Inout_ WINVM_DEVICE *Device, _Inout_ WINVM_FILE *File);
    VOID (*Cleanup)(_Inout_ WINVM_DEVICE *Device, _Inout_ WINVM_FILE *File, _In_ PFILE_OBJECT FileObject);
    WINVM_HANDLER *Read;
    WINVM_HANDLER *Write;
    const WINVM_CONTROL *Controls;
    ULONG ControlCount;
};

#define WINVM_DEVICE_NAMES(device, name, link)                            \
    static const WCHAR WINVM_DEVICE_NAME_##device[] = L"\\Device\\" name; \
    static const WCHAR WINVM_LINK_NAME_##device[] = L"\\DosDevices\\" link;
WINVM_DEVICES(WINVM_DEVICE_NAMES)
#undef WINVM_DEVICE_NAMES

extern const WINVM_CLASS WinvmHelloClass;
extern const WINVM_CLASS WinvmCr42Class;
extern const WINVM_CLASS WinvmLySharkClass;
extern const WINVM_CLASS WinvmWinDdkClass;
extern const WINVM_CLASS WinvmProcLookClass;
extern const WINVM_CLASS WinvmMsgBoardClass;
extern const WINVM_CLASS WinvmSyncClass;
extern const WINVM_CLASS WinvmAsyncClass;
#ifdef WINVM_FAULT
extern const WINVM_CLASS WinvmFaultClass;
#endif

/* driver.c: the one place that completes IRPs. */
_IRQL_requires_max_(DISPATCH_LEVEL) VOID
    WinvmComplete(_Inout_ PIRP Irp, _In_ NTSTATUS Status, _In_ ULONG_PTR Information);

/* device_security.c: SYSTEM and administrators full, authenticated users read and write unless AdministratorsOnly. */
_IRQL_requires_max_(PASSIVE_LEVEL) NTSTATUS
    WinvmSecureDevice(_In_ PDEVICE_OBJECT DeviceObject, _In_ BOOLEAN AdministratorsOnly);

/* irp_queue.c: pending IRPs that can be cancelled at any time. IoCsq* would do this, but is a stub in Wine. */
typedef struct WINVM_QUEUE {
    KSPIN_LOCK Lock; /* a device may guard its own state with it too */
    LIST_ENTRY Irps;
} WINVM_QUEUE;

typedef BOOLEAN WINVM_QUEUE_MATCH(_In_ PIRP Irp, _In_opt_ PVOID Context);

VOID WinvmQueueInitialize(_Out_ WINVM_QUEUE *Queue);

_Requires_lock_held_(Queue->Lock) _IRQL_requires_(DISPATCH_LEVEL) NTSTATUS
    WinvmQueueInsert(_Inout_ WINVM_QUEUE *Queue, _Inout_ PIRP Irp);

_Requires_lock_held_(Queue->Lock) _IRQL_requires_(DISPATCH_LEVEL) PIRP
    WinvmQueueRemove(_Inout_ WINVM_QUEUE *Queue, _In_opt_ WINVM_QUEUE_MATCH *Match, _In_opt_ PVOID Context);

_IRQL_requires_max_(DISPATCH_LEVEL) VOID
    WinvmQueueCancelAll(_Inout_ WINVM_QUEUE *Queue, _In_opt_ PFILE_OBJECT FileObject);

/* transfer.c: a control request's data, whatever its transfer method. */
_IRQL_requires_max_(APC_LEVEL) NTSTATUS
    WinvmTakeFirst(_In_ const WINVM_REQUEST *Request, _Out_writes_bytes_(Size) PVOID To, _In_ ULONG Size);

_IRQL_requires_max_(APC_LEVEL) NTSTATUS
    WinvmTakeSecond(_In_ const WINVM_REQUEST *Request, _Out_writes_bytes_(Size) PVOID To, _In_ ULONG Size);

_IRQL_requires_max_(APC_LEVEL) NTSTATUS
    WinvmGive(_Inout_ WINVM_REQUEST *Request, _In_reads_bytes_(Size) const VOID *From, _In_ ULONG Size);

_IRQL_requires_max_(APC_LEVEL) NTSTATUS
    WinvmWriteUser(_In_ KPROCESSOR_MODE Mode, _In_ PVOID To, _In_reads_bytes_(Size) const VOID *From, _In_ ULONG Size,
                   _In_ ULONG Alignment);

FORCEINLINE ULONG WinvmFirstLength(_In_ const WINVM_REQUEST *Request) {
    return Request->Stack->Parameters.DeviceIoControl.InputBufferLength;
}

FORCEINLINE ULONG WinvmSecondLength(_In_ const WINVM_REQUEST *Request) {
    return Request->Stack->Parameters.DeviceIoControl.OutputBufferLength;
}

/* log.c: DbgPrint of bytes from user mode, unprintable ones as dots, cut to what one line can hold. */
VOID WinvmLogText(_In_ PCSTR Device, _In_ PCSTR What, _In_reads_bytes_(Length) const VOID *Text, _In_ ULONG Length);
