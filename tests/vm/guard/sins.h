/* sins.h - a driver whose every request commits one sin, or does the same rightly. */
#pragma once

#include <ntddk.h>

#define TAG 'sniS'

typedef struct SIN {
    PDEVICE_OBJECT Device;
    PIRP Irp;
    BOOLEAN Clean; /* do it rightly */
    BOOLEAN Done;  /* the request is completed, or pends, and Status is returned */
    NTSTATUS Status;
    ULONG_PTR Information;
} SIN;

typedef VOID SIN_ROUTINE(SIN *Sin);

typedef struct SINS_DEVICE {
    KTIMER Timer;
    KDPC Dpc;
    KSPIN_LOCK First;
    KSPIN_LOCK Second;
    FAST_MUTEX Mutex;
    IO_REMOVE_LOCK Removal;
    PVOID Kept;
} SINS_DEVICE;

extern SIN_ROUTINE *const PoolSins[];
extern const ULONG PoolSinCount;
extern SIN_ROUTINE *const IrpSins[];
extern const ULONG IrpSinCount;
extern SIN_ROUTINE *const LevelSins[];
extern const ULONG LevelSinCount;

extern SIN_ROUTINE *const OtherSins[];
extern const ULONG OtherSinCount;

extern ULONG LeftBehind; /* the sin that the unload routine commits, 0 for none */
VOID LeaveBehind(PDRIVER_OBJECT DriverObject);
VOID Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information);
