/*
 * instrument.h - what the parts of an instrumented build share: hooks around the driver's own entry point and unload
 * routine, the channel by which the guest's agent reads, and records that outlive the image.
 *
 * The bench links these files into a driver beside the driver's own objects, whose sources do not change. The image's
 * entry point is then WinvmInstrumentedEntry; the linker gives the driver's own the second name WinvmOwnEntry
 * (/alternatename). WINVM_COVERAGE, WINVM_GUARD and WINVM_GUIDANCE are defined for the parts of the build.
 */
#pragma once

#include <intrin.h>
/* mingw-w64's wdm.h defines these again; as extensions of the ones above they would be exported by every object. */
#define InterlockedBitTestAndSet WdmInterlockedBitTestAndSet
#define InterlockedBitTestAndReset WdmInterlockedBitTestAndReset
#include <ntddk.h>
#undef InterlockedBitTestAndSet
#undef InterlockedBitTestAndReset

#define WINVM_INSTRUMENT_VERSION 1
#define WINVM_INSTRUMENT_MAGIC 0x494D5657u /* "WVMI" */
#define WINVM_CHANNEL_PARTS 16

/* Parts of the channel: control code CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + part, METHOD_BUFFERED, FILE_READ_DATA).
   Input is the offset as 8 bytes, output the bytes from there on; 0 bytes are the end. guest/agent/instrument.py
   has the same numbers. */
#define WINVM_PART_IDENTITY 0
#define WINVM_PART_COUNTERS 1
#define WINVM_PART_GUARD_BEGIN 2 /* the offset is guard_fail.c's plan; no bytes */
#define WINVM_PART_GUARD_END 3   /* no bytes: what is left is printed */
#define WINVM_PART_NOVELTY 4     /* guidance.c: what is new since it was asked for last */

/* Precedes each record in the file of records. */
typedef struct WINVM_RECORD {
    ULONG Magic;
    ULONG Part;
    ULONGLONG Instance;
    ULONGLONG Size; /* of what follows, in bytes */
} WINVM_RECORD;

/* What part 0 holds. */
typedef struct WINVM_IDENTITY {
    ULONG Magic;
    ULONG Version;
    ULONGLONG Instance; /* differs for each time that the driver is loaded */
    ULONGLONG CounterBytes;
} WINVM_IDENTITY;

/* Copies at most Length bytes of a part, from Offset on; returns how many. PASSIVE_LEVEL. */
typedef ULONG WINVM_PART_READ(ULONGLONG Offset, PVOID Buffer, ULONG Length);

/* entry.c: which load of the driver this is. */
extern ULONGLONG WinvmInstance;

/* channel.c. Parts are added before the channel is opened. */
VOID WinvmChannelAdd(ULONG Part, WINVM_PART_READ *Read);
ULONG WinvmCopyPart(const VOID *Content, ULONGLONG Size, ULONGLONG Offset, PVOID Buffer, ULONG Length);
NTSTATUS WinvmChannelOpen(PCUNICODE_STRING Service);
VOID WinvmChannelClose(VOID);

/* record.c: appends a record to C:\winvm\run\<service>.instrument, for what must outlive the image. */
VOID WinvmRecordName(PCUNICODE_STRING Service);
NTSTATUS WinvmRecord(ULONG Part, const VOID *Content, ULONGLONG Size);

/* Hooks, all at PASSIVE_LEVEL in a system thread: before the driver's entry point, after it with its status, before
   and after its unload routine. After a failed entry there is no unload. */
#ifdef WINVM_COVERAGE
VOID WinvmCoverageBegin(PDRIVER_OBJECT DriverObject);
VOID WinvmCoverageEntered(PDRIVER_OBJECT DriverObject, NTSTATUS Status);
VOID WinvmCoverageUnloaded(PDRIVER_OBJECT DriverObject);
ULONGLONG WinvmCounterBytes(VOID);
#endif
#ifdef WINVM_GUIDANCE
VOID WinvmGuidanceBegin(VOID);
#endif
#ifdef WINVM_GUARD
VOID WinvmGuardBegin(PDRIVER_OBJECT DriverObject);
VOID WinvmGuardEntered(PDRIVER_OBJECT DriverObject, NTSTATUS Status);
VOID WinvmGuardUnloading(PDRIVER_OBJECT DriverObject);
VOID WinvmGuardUnloaded(PDRIVER_OBJECT DriverObject);
#endif
