/* pool_sins.c - sins with pool. */
#include "sins.h"

static volatile UCHAR *Take(POOL_TYPE Type, SIZE_T Size) {
    volatile UCHAR *block = ExAllocatePoolWithTag(Type, Size, TAG);

    if (block == NULL) {
        ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES);
    }
    return block;
}

static VOID Give(volatile UCHAR *Block) {
    ExFreePoolWithTag((PVOID)Block, TAG);
}

static VOID WriteBeyond(SIN *Sin) {
    volatile UCHAR *block = Take(NonPagedPoolNx, 64);
    block[Sin->Clean ? 63 : 64] = 1;
    Give(block);
}

static VOID ReadBeyond(SIN *Sin) {
    volatile UCHAR *block = Take(NonPagedPoolNx, 128);
    Sin->Status = block[Sin->Clean ? 127 : 128] == 0x12 ? STATUS_SUCCESS : STATUS_SUCCESS;
    Give(block);
}

static VOID SmallOverrun(SIN *Sin) { /* into the bytes up to the pool's alignment */
    volatile UCHAR *block = Take(NonPagedPoolNx, 61);
    block[Sin->Clean ? 60 : 61] = 1;
    Give(block);
}

static VOID Underrun(SIN *Sin) {
    volatile UCHAR *block = Take(NonPagedPoolNx, 64);
    volatile LONG before = Sin->Clean ? 0 : -1;
    block[before] = 1;
    Give(block);
}

static VOID LargeOverrun(SIN *Sin) {
    volatile UCHAR *block = Take(PagedPool, 5000);
    block[Sin->Clean ? 4999 : 5000] = 1;
    Give(block);
}

static VOID UseAfterFree(SIN *Sin) {
    volatile UCHAR *block = Take(NonPagedPoolNx, 64);
    if (!Sin->Clean) {
        Give(block);
    }
    block[5] = 1;
    if (Sin->Clean) {
        Give(block);
    }
}

static VOID ReadAfterFree(SIN *Sin) {
    volatile UCHAR *block = Take(PagedPool, 300);
    if (!Sin->Clean) {
        Give(block);
    }
    Sin->Information = block[299] & 0;
    if (Sin->Clean) {
        Give(block);
    }
}

static VOID DoubleFree(SIN *Sin) {
    volatile UCHAR *block = Take(NonPagedPoolNx, 64);
    Give(block);
    if (!Sin->Clean) {
        Give(block);
    }
}

static VOID WrongTag(SIN *Sin) {
    ExFreePoolWithTag((PVOID)Take(NonPagedPoolNx, 64), Sin->Clean ? TAG : 'rehO');
}

static VOID InnerFree(SIN *Sin) {
    volatile UCHAR *block = Take(NonPagedPoolNx, 64);
    ExFreePool((PVOID)(block + (Sin->Clean ? 0 : 16)));
}

static VOID StackFree(SIN *Sin) {
    UCHAR local[32] = {0};
    if (Sin->Clean) {
        Give(Take(NonPagedPoolNx, 64));
    } else {
        ExFreePool(local);
    }
}

static VOID NullFree(SIN *Sin) {
    if (!Sin->Clean) {
        ExFreePoolWithTag(NULL, TAG);
    }
}

static VOID ZeroBytes(SIN *Sin) {
    volatile SIZE_T size = Sin->Clean ? 1 : 0;
    Give(ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG));
}

static VOID PagedAtDispatch(SIN *Sin) {
    KIRQL irql;
    KeRaiseIrql(Sin->Clean ? APC_LEVEL : DISPATCH_LEVEL, &irql);
    PVOID block = ExAllocatePoolWithTag(PagedPool, 64, TAG);
    KeLowerIrql(irql);
    ExFreePool(block);
}

static VOID PagedFreeAtDispatch(SIN *Sin) {
    SINS_DEVICE *own = Sin->Device->DeviceExtension;
    volatile UCHAR *block = Take(PagedPool, 64);
    KIRQL irql;
    if (!Sin->Clean) {
        KeAcquireSpinLock(&own->First, &irql);
    }
    Give(block);
    if (!Sin->Clean) {
        KeReleaseSpinLock(&own->First, irql);
    }
}

static VOID ActiveTimerFreed(SIN *Sin) {
    LARGE_INTEGER due = {.QuadPart = -600000000};
    PKTIMER timer = (PKTIMER)Take(NonPagedPoolNx, sizeof(KTIMER));
    KeInitializeTimer(timer);
    KeSetTimer(timer, due, NULL);
    if (Sin->Clean) {
        KeCancelTimer(timer);
    }
    Give((volatile UCHAR *)timer);
}

SIN_ROUTINE *const PoolSins[] = {WriteBeyond,  ReadBeyond,      SmallOverrun,        Underrun,
                                 LargeOverrun, UseAfterFree,    ReadAfterFree,       DoubleFree,
                                 WrongTag,     InnerFree,       StackFree,           NullFree,
                                 ZeroBytes,    PagedAtDispatch, PagedFreeAtDispatch, ActiveTimerFreed};
const ULONG PoolSinCount = ARRAYSIZE(PoolSins);
