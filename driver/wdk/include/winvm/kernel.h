/* Other routines, types and constants of Microsoft's wdm.h that mingw-w64's lacks. */
#pragma once

#define MdlMappingNoWrite 0x80000000
#define MdlMappingNoExecute 0x40000000
#define MdlMappingWithGuardPtes 0x20000000

#define MM_COPY_MEMORY_PHYSICAL 0x1
#define MM_COPY_MEMORY_VIRTUAL 0x2

/* mingw-w64's assigns the parameter to itself, which an expression cannot be. */
#undef UNREFERENCED_PARAMETER
#define UNREFERENCED_PARAMETER(parameter) ((void)(parameter))

#ifndef EXTERN_C_START
#ifdef __cplusplus
#define EXTERN_C_START extern "C" {
#define EXTERN_C_END }
#else
#define EXTERN_C_START
#define EXTERN_C_END
#endif
#endif

/* ntdef.h of the WDK has these for COM interfaces and for text of either width. */
#ifndef DECLSPEC_NOVTABLE
#define DECLSPEC_NOVTABLE __declspec(novtable)
#endif
#ifndef DECLSPEC_NOTHROW
#define DECLSPEC_NOTHROW __declspec(nothrow)
#endif
#ifndef DECLSPEC_UUID
#define DECLSPEC_UUID(x) __declspec(uuid(x))
#endif
#if !defined(_TCHAR_DEFINED) && !defined(_WINNT_)
#define _TCHAR_DEFINED
typedef WCHAR TCHAR, *PTCHAR;
typedef LPWSTR PTSTR, LPTSTR;
typedef LPCWSTR PCTSTR, LPCTSTR;
#endif
#ifndef TEXT
#define __TEXT(quote) L##quote
#define TEXT(quote) __TEXT(quote)
#endif

/* mingw-w64's sal.h leaves these two to the C++ library, which a driver does not have. */
#ifndef __in
#define __in
#endif
#ifndef __out
#define __out
#endif

#ifndef KeMemoryBarrier
#define KeMemoryBarrier() __sync_synchronize()
#endif

/* mingw-w64's parenthesises a type for an expression. */
#undef RTL_CONSTANT_OBJECT_ATTRIBUTES
#define RTL_CONSTANT_OBJECT_ATTRIBUTES(name, attributes)                                                               \
    { sizeof(OBJECT_ATTRIBUTES), NULL, (PUNICODE_STRING)(name), (attributes), NULL, NULL }
#undef RTL_INIT_OBJECT_ATTRIBUTES
#define RTL_INIT_OBJECT_ATTRIBUTES(name, attributes) RTL_CONSTANT_OBJECT_ATTRIBUTES(name, attributes)

#ifndef NT_ASSERT
#if DBG
#define NT_ASSERT(expression) ((expression) ? TRUE : (DbgRaiseAssertionFailure(), FALSE))
#define NT_ASSERTMSG(message, expression) NT_ASSERT(expression)
#else
#define NT_ASSERT(expression) ((void)0)
#define NT_ASSERTMSG(message, expression) ((void)0)
#endif
#endif
#ifndef NT_VERIFY
#define NT_VERIFY(expression) ((expression) ? TRUE : FALSE)
#define NT_FRE_ASSERT(expression) ((expression) ? TRUE : FALSE)
#endif

#ifndef DbgRaiseAssertionFailure
#define DbgRaiseAssertionFailure() __asm__ volatile("int $0x2c")
#endif

/* The operators of an enumeration of flags, whose values C++ does not combine by itself. */
#ifndef DEFINE_ENUM_FLAG_OPERATORS
#ifdef __cplusplus
#define DEFINE_ENUM_FLAG_OPERATORS(T)                                                                                  \
    extern "C++" {                                                                                                         \
    inline constexpr T operator|(T a, T b) { return T((__underlying_type(T))(a) | (__underlying_type(T))(b)); }                \
    inline constexpr T operator&(T a, T b) { return T((__underlying_type(T))(a) & (__underlying_type(T))(b)); }                \
    inline constexpr T operator^(T a, T b) { return T((__underlying_type(T))(a) ^ (__underlying_type(T))(b)); }                \
    inline constexpr T operator~(T a) { return T(~(__underlying_type(T))(a)); }                                              \
    inline T &operator|=(T &a, T b) { return a = a | b; }                                                                  \
    inline T &operator&=(T &a, T b) { return a = a & b; }                                                                  \
    inline T &operator^=(T &a, T b) { return a = a ^ b; }                                                                  \
    }
#else
#define DEFINE_ENUM_FLAG_OPERATORS(T)
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Intrinsics of Visual C++ that mingw-w64's intrin.h does not declare; wdk.lib has them. */
unsigned long long __readdr(unsigned int Number);
void __writedr(unsigned int Number, unsigned long long Value);
void __sidt(void *To);
void __lidt(void *From);
void _sgdt(void *To);
void _lgdt(void *From);
void __halt(void);

/* Routines of a cancel-safe queue, as function types. https://learn.microsoft.com/windows-hardware/drivers/kernel
   /cancel-safe-irp-queues */
typedef VOID NTAPI IO_CSQ_INSERT_IRP(struct _IO_CSQ *Csq, PIRP Irp);
typedef VOID NTAPI IO_CSQ_REMOVE_IRP(struct _IO_CSQ *Csq, PIRP Irp);
typedef PIRP NTAPI IO_CSQ_PEEK_NEXT_IRP(struct _IO_CSQ *Csq, PIRP Irp, PVOID PeekContext);
typedef VOID NTAPI IO_CSQ_ACQUIRE_LOCK(struct _IO_CSQ *Csq, PKIRQL Irql);
typedef VOID NTAPI IO_CSQ_RELEASE_LOCK(struct _IO_CSQ *Csq, KIRQL Irql);
typedef VOID NTAPI IO_CSQ_COMPLETE_CANCELED_IRP(struct _IO_CSQ *Csq, PIRP Irp);

typedef NTSTATUS NTAPI RTL_QUERY_REGISTRY_ROUTINE(PWSTR ValueName, ULONG ValueType, PVOID ValueData, ULONG ValueLength,
                                                  PVOID Context, PVOID EntryContext);

typedef struct _MM_COPY_ADDRESS {
    union {
        PVOID VirtualAddress;
        PHYSICAL_ADDRESS PhysicalAddress;
    };
} MM_COPY_ADDRESS, *PMMCOPY_ADDRESS;

NTKERNELAPI NTSTATUS NTAPI MmCopyMemory(PVOID TargetAddress, MM_COPY_ADDRESS SourceAddress, SIZE_T NumberOfBytes,
                                        ULONG Flags, PSIZE_T NumberOfBytesTransferred);

typedef enum _DRIVER_REGKEY_TYPE {
    DriverRegKeyParameters = 0,
    DriverRegKeyPersistentState,
    DriverRegKeySharedPersistentState
} DRIVER_REGKEY_TYPE, *PDRIVER_REGKEY_TYPE;

NTKERNELAPI NTSTATUS NTAPI IoOpenDriverRegistryKey(PDRIVER_OBJECT DriverObject, DRIVER_REGKEY_TYPE RegKeyType,
                                                   ACCESS_MASK DesiredAccess, ULONG Flags, PHANDLE DriverRegKey);
NTKERNELAPI NTSTATUS NTAPI CmCallbackGetKeyObjectIDEx(PLARGE_INTEGER Cookie, PVOID Object, PULONG_PTR ObjectID,
                                                      PCUNICODE_STRING *ObjectName, ULONG Flags);
NTKERNELAPI VOID NTAPI CmCallbackReleaseKeyObjectIDEx(PCUNICODE_STRING ObjectName);
NTKERNELAPI NTSTATUS NTAPI PsGetProcessExitStatus(PEPROCESS Process);
NTKERNELAPI NTSTATUS NTAPI PsGetThreadExitStatus(PETHREAD Thread);
NTKERNELAPI PEPROCESS NTAPI PsGetThreadProcess(PETHREAD Thread);
NTKERNELAPI VOID NTAPI KeQuerySystemTimePrecise(PLARGE_INTEGER CurrentTime);
NTKERNELAPI ULONG64 NTAPI KeQueryInterruptTimePrecise(PULONG64 QpcTimeStamp);
NTKERNELAPI VOID NTAPI ExQueryTimerResolution(PULONG MaximumTime, PULONG MinimumTime, PULONG CurrentTime);
NTKERNELAPI NTSTATUS NTAPI IoCreateSystemThread(PVOID IoObject, PHANDLE ThreadHandle, ULONG DesiredAccess,
                                                POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ProcessHandle,
                                                PCLIENT_ID ClientId, PKSTART_ROUTINE StartRoutine, PVOID StartContext);

#ifdef __cplusplus
}

/* What overload sets of operator new take; Visual C++ declares them without a header. */
namespace std {
enum class align_val_t : decltype(sizeof(0)) {};
struct nothrow_t {
    explicit nothrow_t() = default;
};
}
#endif
