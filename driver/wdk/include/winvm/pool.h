/* Pool allocation since Windows 10 2004, and non-executable pool for code that asks for NonPagedPool.
   Values and signatures: https://learn.microsoft.com/windows-hardware/drivers/kernel/pool_flags and the pages of each
   routine. */
#pragma once

#define POOL_FLAG_REQUIRED_START 0x0000000000000001ULL
#define POOL_FLAG_USE_QUOTA 0x0000000000000001ULL
#define POOL_FLAG_UNINITIALIZED 0x0000000000000002ULL
#define POOL_FLAG_SESSION 0x0000000000000004ULL
#define POOL_FLAG_CACHE_ALIGNED 0x0000000000000008ULL
#define POOL_FLAG_RESERVED1 0x0000000000000010ULL
#define POOL_FLAG_RAISE_ON_FAILURE 0x0000000000000020ULL
#define POOL_FLAG_NON_PAGED 0x0000000000000040ULL
#define POOL_FLAG_NON_PAGED_EXECUTE 0x0000000000000080ULL
#define POOL_FLAG_PAGED 0x0000000000000100ULL
#define POOL_FLAG_RESERVED2 0x0000000000000200ULL
#define POOL_FLAG_RESERVED3 0x0000000000000400ULL
#define POOL_FLAG_REQUIRED_END 0x0000000080000000ULL
#define POOL_FLAG_OPTIONAL_START 0x0000000100000000ULL
#define POOL_FLAG_SPECIAL_POOL 0x0000000100000000ULL
#define POOL_FLAG_OPTIONAL_END 0x8000000000000000ULL

#define POOL_NX_ALLOCATION 512
#define POOL_ZEROING_ALLOCATION 1024
#define POOL_ZERO_ALLOCATION POOL_ZEROING_ALLOCATION

typedef ULONG64 POOL_FLAGS;

typedef enum _POOL_EXTENDED_PARAMETER_TYPE {
    PoolExtendedParameterInvalidType = 0,
    PoolExtendedParameterPriority,
    PoolExtendedParameterSecurePool,
    PoolExtendedParameterNumaNode,
    PoolExtendedParameterMax
} POOL_EXTENDED_PARAMETER_TYPE, *PPOOL_EXTENDED_PARAMETER_TYPE;

#define POOL_EXTENDED_PARAMETER_TYPE_BITS 8
#define POOL_EXTENDED_PARAMETER_REQUIRED_FIELD_BITS 1

typedef struct _POOL_EXTENDED_PARAMS_SECURE_POOL {
    HANDLE SecurePoolHandle;
    PVOID Buffer;
    ULONG_PTR Cookie;
    ULONG SecurePoolFlags;
} POOL_EXTENDED_PARAMS_SECURE_POOL;

typedef struct _POOL_EXTENDED_PARAMETER {
    struct {
        ULONG64 Type : 8;
        ULONG64 Optional : 1;
        ULONG64 Reserved : 55;
    };
    union {
        ULONG64 Reserved2;
        PVOID Reserved3;
        EX_POOL_PRIORITY Priority;
        POOL_EXTENDED_PARAMS_SECURE_POOL *SecurePoolParams;
        ULONG PreferredNode;
    };
} POOL_EXTENDED_PARAMETER, *PPOOL_EXTENDED_PARAMETER;

typedef CONST POOL_EXTENDED_PARAMETER *PCPOOL_EXTENDED_PARAMETER;

#define DrvRtPoolNxOptIn 0x00000001

#ifdef __cplusplus
extern "C" {
#endif

NTKERNELAPI PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
NTKERNELAPI PVOID NTAPI ExAllocatePool3(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag,
                                        PCPOOL_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParametersCount);
NTKERNELAPI VOID NTAPI ExFreePool2(PVOID P, ULONG Tag, PCPOOL_EXTENDED_PARAMETER ExtendedParameters,
                                   ULONG ExtendedParametersCount);

#ifdef __cplusplus
}
#endif

/* POOL_NX_OPTIN: NonPagedPool of this driver means the pool that cannot be executed. Windows 8 and later always have
   it, so that the type is chosen when the driver is compiled, not when it starts. */
#if defined(POOL_NX_OPTIN) && POOL_NX_OPTIN && !defined(POOL_NX_OPTOUT)
#define NonPagedPool NonPagedPoolNx
#define NonPagedPoolCacheAligned NonPagedPoolNxCacheAligned
#endif

static __inline VOID ExInitializeDriverRuntime(ULONG RuntimeFlags) { (void)RuntimeFlags; }

static __inline PVOID ExAllocatePoolZero(POOL_TYPE Type, SIZE_T Size, ULONG Tag) {
    PVOID memory = ExAllocatePoolWithTag(Type, Size, Tag);
    if (memory) RtlZeroMemory(memory, Size);
    return memory;
}

static __inline PVOID ExAllocatePoolUninitialized(POOL_TYPE Type, SIZE_T Size, ULONG Tag) {
    return ExAllocatePoolWithTag(Type, Size, Tag);
}

static __inline PVOID ExAllocatePoolQuotaZero(POOL_TYPE Type, SIZE_T Size, ULONG Tag) {
    PVOID memory = ExAllocatePoolWithQuotaTag(Type, Size, Tag);
    if (memory) RtlZeroMemory(memory, Size);
    return memory;
}

static __inline PVOID ExAllocatePoolQuotaUninitialized(POOL_TYPE Type, SIZE_T Size, ULONG Tag) {
    return ExAllocatePoolWithQuotaTag(Type, Size, Tag);
}

static __inline PVOID ExAllocatePoolPriorityZero(POOL_TYPE Type, SIZE_T Size, ULONG Tag, EX_POOL_PRIORITY Priority) {
    PVOID memory = ExAllocatePoolWithTagPriority(Type, Size, Tag, Priority);
    if (memory) RtlZeroMemory(memory, Size);
    return memory;
}

static __inline PVOID ExAllocatePoolPriorityUninitialized(POOL_TYPE Type, SIZE_T Size, ULONG Tag,
                                                          EX_POOL_PRIORITY Priority) {
    return ExAllocatePoolWithTagPriority(Type, Size, Tag, Priority);
}
