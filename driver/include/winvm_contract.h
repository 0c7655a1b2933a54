/*
 * winvm_contract.h - the public contract of the sample driver: devices, control codes, structures, constants.
 *
 * Everything is written once, as X-macro rows. The C declarations below and guest/scenarios/contract.py
 * (`python -m harness.contract`) are both expanded from these rows, and both carry the same contract hash.
 *
 * User mode: include <windows.h> and <winioctl.h> first. Kernel mode: include <ntddk.h> or <wdm.h> first.
 * All structures have fixed width, explicit padding and the same layout for 32-bit and 64-bit callers, except
 * where a row says otherwise.
 */
#ifndef WINVM_CONTRACT_H
#define WINVM_CONTRACT_H

/* Increment it when a row changes its meaning but not its text; every other change of a row changes the hash. */
#define WINVM_CONTRACT_VERSION 1

/* X(device, name below \Device, symbolic link below \DosDevices) */
/* clang-format off */
#define WINVM_DEVICES(X)                                      \
    X(WINVM,   "Winvm",         "Winvm")                      \
    X(CR42,    "CR42",          "CR42VirtualRegister")        \
    X(LYSHARK, "LySharkDriver", "LySharkDriver")              \
    X(WINDDK,  "WinDDK",        "WinDDK")                     \
    X(PROCLOOK,"ProcLook",      "Symboliclnk")                \
    X(MSGBOARD,"MsgBoard",      "MsgBoard")                   \
    X(SYNC,    "LySharkSync",   "LySharkSync")                \
    X(ASYNC,   "LySharkAsync",  "LySharkAsync")               \
    X(FAULT,   "WinvmFault",    "WinvmFault") /* fault build only */

/*
 * X(device, operation, device type, function, transfer method, required access)
 *
 * WINVM HELLO          out WINVM_HELLO: contract and build of the loaded driver.
 *
 * CR42 GET_Rn, SET_Rn  a 4-byte signed register value. GET writes it to the output buffer, SET takes it from the
 *                      input buffer; the other buffer may be absent. Shorter than 4 bytes: GET fails with
 *                      STATUS_BUFFER_TOO_SMALL, SET with STATUS_INFO_LENGTH_MISMATCH.
 *                      IN_DIRECT: SET takes the value from the second (direct) buffer when there is one.
 *                      IN_DIRECT: GET writes to the second buffer, which must be writable to the caller.
 * CR42 ADD_Rn          in: 4-byte signed addend, out: the sum. Atomic: concurrent additions are never lost.
 *
 * WINDDK MAP           out: address (pointer-sized) of WINVM_USER_RECORDS records of WINVM_USER mapped into the
 *                      caller, valid until the handle is closed. Asking again returns the same address.
 * WINDDK FILL_HEAP     in WINVM_HEAP_REQUEST (WINVM_HEAP_REQUEST32 from a 32-bit process): the driver writes
 *                      WINVM_PROCESS_RECORDS records of WINVM_PROCESS_RECORD there; out: uint32_t count of records.
 *
 * PROCLOOK NEWEST      out WINVM_PROCESS_NOTE of the newest process event (all 0 before the first).
 * PROCLOOK NEXT        out: array of WINVM_PROCESS_EVENT, oldest first, as many as are queued for this handle and
 *                      fit; pends while none is queued. Events are queued from the moment the handle is opened.
 *
 * MSGBOARD SHOW        in: text; it is logged, kept, and numbered from 0. Taken from the first buffer, or, with
 *                      IN_DIRECT and an empty first buffer, from the second. With OUT_DIRECT an output buffer of
 *                      4 bytes or more receives the message's number (uint32_t).
 * MSGBOARD GET         out: text of the newest message, without terminator, 0 bytes when there is none. A message
 *                      longer than the output is cut, with STATUS_BUFFER_OVERFLOW (ERROR_MORE_DATA).
 * MSGBOARD LOOKUP      in: uint32_t number, out as GET. STATUS_NOT_FOUND unless it is one of the newest
 *                      WINVM_MESSAGES_KEPT.
 *
 * FAULT *              STATUS_DEVICE_NOT_READY until ARM (in: uint32_t WINVM_FAULT_ARM_KEY) was seen on this handle.
 * FAULT BUGCHECK       in WINVM_BUGCHECK: KeBugCheckEx with these.
 * FAULT NULL_WRITE     writes to address 0.
 * FAULT FREED_POINTER  in WINVM_ADDRESS: writes 8 bytes there with no probe and no exception handler.
 * FAULT WRONG_IRQL     waits on a never signalled event at DISPATCH_LEVEL.
 * FAULT DOUBLE_COMPLETE completes the request, then completes it again.
 * FAULT POOL_OVERRUN   in: uint32_t bytes (at most 4096) to write past a 64-byte pool block, which is then freed.
 * FAULT HANG           spins at DISPATCH_LEVEL for ever.
 * FAULT STEP           in: uint32_t opcode, out: uint32_t number of steps now matched. The last opcode of
 *                      WINVM_FAULT_SEQUENCE, after all others in order, is a KeBugCheckEx of
 *                      (WINVM_FAULT_SEQUENCE_BUGCHECK, 30, 0, 0, 0). A wrong opcode starts over, counting itself
 *                      when it is the first of the sequence. Matched per handle.
 */
#define WINVM_IOCTLS(X)                                                                            \
    X(WINVM,    HELLO,             FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     GET_R1,            FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     GET_R2,            FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     GET_R3,            FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     SET_R1,            FILE_DEVICE_UNKNOWN, 0x803, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     SET_R2,            FILE_DEVICE_UNKNOWN, 0x804, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     SET_R3,            FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     GET_R1_IN_DIRECT,  FILE_DEVICE_UNKNOWN, 0x810, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(CR42,     GET_R2_IN_DIRECT,  FILE_DEVICE_UNKNOWN, 0x811, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(CR42,     GET_R3_IN_DIRECT,  FILE_DEVICE_UNKNOWN, 0x812, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(CR42,     SET_R1_IN_DIRECT,  FILE_DEVICE_UNKNOWN, 0x813, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(CR42,     SET_R2_IN_DIRECT,  FILE_DEVICE_UNKNOWN, 0x814, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(CR42,     SET_R3_IN_DIRECT,  FILE_DEVICE_UNKNOWN, 0x815, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(CR42,     GET_R1_OUT_DIRECT, FILE_DEVICE_UNKNOWN, 0x820, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(CR42,     GET_R2_OUT_DIRECT, FILE_DEVICE_UNKNOWN, 0x821, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(CR42,     GET_R3_OUT_DIRECT, FILE_DEVICE_UNKNOWN, 0x822, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(CR42,     SET_R1_OUT_DIRECT, FILE_DEVICE_UNKNOWN, 0x823, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(CR42,     SET_R2_OUT_DIRECT, FILE_DEVICE_UNKNOWN, 0x824, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(CR42,     SET_R3_OUT_DIRECT, FILE_DEVICE_UNKNOWN, 0x825, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(CR42,     GET_R1_NEITHER,    FILE_DEVICE_UNKNOWN, 0x830, METHOD_NEITHER,    FILE_ANY_ACCESS)   \
    X(CR42,     GET_R2_NEITHER,    FILE_DEVICE_UNKNOWN, 0x831, METHOD_NEITHER,    FILE_ANY_ACCESS)   \
    X(CR42,     GET_R3_NEITHER,    FILE_DEVICE_UNKNOWN, 0x832, METHOD_NEITHER,    FILE_ANY_ACCESS)   \
    X(CR42,     SET_R1_NEITHER,    FILE_DEVICE_UNKNOWN, 0x833, METHOD_NEITHER,    FILE_ANY_ACCESS)   \
    X(CR42,     SET_R2_NEITHER,    FILE_DEVICE_UNKNOWN, 0x834, METHOD_NEITHER,    FILE_ANY_ACCESS)   \
    X(CR42,     SET_R3_NEITHER,    FILE_DEVICE_UNKNOWN, 0x835, METHOD_NEITHER,    FILE_ANY_ACCESS)   \
    X(CR42,     ADD_R1,            FILE_DEVICE_UNKNOWN, 0x840, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     ADD_R2,            FILE_DEVICE_UNKNOWN, 0x841, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(CR42,     ADD_R3,            FILE_DEVICE_UNKNOWN, 0x842, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(WINDDK,   MAP,               FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(WINDDK,   FILL_HEAP,         FILE_DEVICE_UNKNOWN, 0x806, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(PROCLOOK, NEWEST,            FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED,   FILE_ANY_ACCESS)   \
    X(PROCLOOK, NEXT,              FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED,   FILE_READ_ACCESS)  \
    X(MSGBOARD, SHOW,              FILE_DEVICE_UNKNOWN, 0x801, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(MSGBOARD, GET,               FILE_DEVICE_UNKNOWN, 0x802, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(MSGBOARD, LOOKUP,            FILE_DEVICE_UNKNOWN, 0x803, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)   \
    X(MSGBOARD, SHOW_IN_DIRECT,    FILE_DEVICE_UNKNOWN, 0x801, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(MSGBOARD, GET_IN_DIRECT,     FILE_DEVICE_UNKNOWN, 0x802, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(MSGBOARD, LOOKUP_IN_DIRECT,  FILE_DEVICE_UNKNOWN, 0x803, METHOD_IN_DIRECT,  FILE_ANY_ACCESS)   \
    X(FAULT,    ARM,               FILE_DEVICE_UNKNOWN, 0x900, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    BUGCHECK,          FILE_DEVICE_UNKNOWN, 0x901, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    NULL_WRITE,        FILE_DEVICE_UNKNOWN, 0x902, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    FREED_POINTER,     FILE_DEVICE_UNKNOWN, 0x903, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    WRONG_IRQL,        FILE_DEVICE_UNKNOWN, 0x904, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    DOUBLE_COMPLETE,   FILE_DEVICE_UNKNOWN, 0x905, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    POOL_OVERRUN,      FILE_DEVICE_UNKNOWN, 0x906, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    HANG,              FILE_DEVICE_UNKNOWN, 0x907, METHOD_BUFFERED,   FILE_WRITE_ACCESS) \
    X(FAULT,    STEP,              FILE_DEVICE_UNKNOWN, 0x908, METHOD_BUFFERED,   FILE_WRITE_ACCESS)

/*
 * X(structure, size in bytes, alignment in bytes, FIELDS); FIELDS(FIELD, ARRAY) lists
 * FIELD(structure, offset, type, name) and ARRAY(structure, offset, type, name, number of elements).
 */
#define WINVM_HELLO_FIELDS(FIELD, ARRAY)                                                    \
    FIELD(WINVM_HELLO, 0, uint32_t, size)            /* sizeof(WINVM_HELLO) */              \
    FIELD(WINVM_HELLO, 4, uint32_t, version)         /* WINVM_CONTRACT_VERSION */           \
    FIELD(WINVM_HELLO, 8, uint32_t, fault_build)     /* 1 when it serves the fault device */\
    FIELD(WINVM_HELLO, 12, uint32_t, reserved)                                              \
    ARRAY(WINVM_HELLO, 16, uint8_t, hash, 32)        /* contract hash */

#define WINVM_REGISTERS_FIELDS(FIELD, ARRAY)                                                \
    FIELD(WINVM_REGISTERS, 0, int32_t, r1)                                                  \
    FIELD(WINVM_REGISTERS, 4, int32_t, r2)                                                  \
    FIELD(WINVM_REGISTERS, 8, int32_t, r3)

#define WINVM_USER_FIELDS(FIELD, ARRAY)                                                     \
    ARRAY(WINVM_USER, 0, char, username, 256)                                               \
    ARRAY(WINVM_USER, 256, char, password, 256)                                             \
    FIELD(WINVM_USER, 512, int32_t, count)           /* WINVM_USER_RECORDS in the first */

#define WINVM_HEAP_REQUEST_FIELDS(FIELD, ARRAY)                                             \
    FIELD(WINVM_HEAP_REQUEST, 0, uint64_t, nSize)    /* bytes at BufferPtr */               \
    FIELD(WINVM_HEAP_REQUEST, 8, uint64_t, BufferPtr)

#define WINVM_HEAP_REQUEST32_FIELDS(FIELD, ARRAY)                                           \
    FIELD(WINVM_HEAP_REQUEST32, 0, uint32_t, nSize)                                         \
    FIELD(WINVM_HEAP_REQUEST32, 4, uint32_t, BufferPtr)

#define WINVM_PROCESS_RECORD_FIELDS(FIELD, ARRAY)                                           \
    FIELD(WINVM_PROCESS_RECORD, 0, uint32_t, PID)    /* 2i */                               \
    FIELD(WINVM_PROCESS_RECORD, 4, uint32_t, PPID)   /* 4i */

#define WINVM_PROCESS_NOTE_FIELDS(FIELD, ARRAY)      /* {HANDLE pid, parent; BOOLEAN} */    \
    FIELD(WINVM_PROCESS_NOTE, 0, uint64_t, pid)                                             \
    FIELD(WINVM_PROCESS_NOTE, 8, uint64_t, parent)                                          \
    FIELD(WINVM_PROCESS_NOTE, 16, uint8_t, created)                                         \
    ARRAY(WINVM_PROCESS_NOTE, 17, uint8_t, padding, 7)

#define WINVM_PROCESS_EVENT_FIELDS(FIELD, ARRAY)                                            \
    FIELD(WINVM_PROCESS_EVENT, 0, uint64_t, sequence) /* 1, 2, 3... since load; a gap = lost */ \
    FIELD(WINVM_PROCESS_EVENT, 8, uint64_t, pid)                                            \
    FIELD(WINVM_PROCESS_EVENT, 16, uint64_t, parent)                                        \
    FIELD(WINVM_PROCESS_EVENT, 24, uint32_t, created) /* 1 start, 0 exit */                 \
    FIELD(WINVM_PROCESS_EVENT, 28, uint32_t, reserved)

#define WINVM_BUGCHECK_FIELDS(FIELD, ARRAY)                                                 \
    FIELD(WINVM_BUGCHECK, 0, uint32_t, code)                                                \
    FIELD(WINVM_BUGCHECK, 4, uint32_t, reserved)                                            \
    ARRAY(WINVM_BUGCHECK, 8, uint64_t, parameters, 4)

#define WINVM_ADDRESS_FIELDS(FIELD, ARRAY)                                                  \
    FIELD(WINVM_ADDRESS, 0, uint64_t, address)

#define WINVM_STRUCTURES(X)                                                                 \
    X(WINVM_HELLO, 48, 4, WINVM_HELLO_FIELDS)                                               \
    X(WINVM_REGISTERS, 12, 4, WINVM_REGISTERS_FIELDS)                                       \
    X(WINVM_USER, 516, 4, WINVM_USER_FIELDS)                                                \
    X(WINVM_HEAP_REQUEST, 16, 8, WINVM_HEAP_REQUEST_FIELDS)                                 \
    X(WINVM_HEAP_REQUEST32, 8, 4, WINVM_HEAP_REQUEST32_FIELDS)                              \
    X(WINVM_PROCESS_RECORD, 8, 4, WINVM_PROCESS_RECORD_FIELDS)                              \
    X(WINVM_PROCESS_NOTE, 24, 8, WINVM_PROCESS_NOTE_FIELDS)                                 \
    X(WINVM_PROCESS_EVENT, 32, 8, WINVM_PROCESS_EVENT_FIELDS)                               \
    X(WINVM_BUGCHECK, 40, 8, WINVM_BUGCHECK_FIELDS)                                         \
    X(WINVM_ADDRESS, 8, 8, WINVM_ADDRESS_FIELDS)

/* X(name, value): integers. */
#define WINVM_CONSTANTS(X)                                                                  \
    X(WINVM_USER_RECORDS, 716)                                                              \
    X(WINVM_PROCESS_RECORDS, 10)                                                            \
    X(WINVM_PROCESS_QUEUE_LIMIT, 4096)      /* events kept per handle before the oldest go */ \
    X(WINVM_MESSAGE_LIMIT, 512)             /* bytes of one message; longer input is refused */ \
    X(WINVM_MESSAGES_KEPT, 16)                                                              \
    X(WINVM_SYNC_READ_LIMIT, 20)            /* bytes of one read */                         \
    X(WINVM_ASYNC_PERIOD_MS, 50)            /* one pending read completes per period */     \
    X(WINVM_FAULT_ARM_KEY, 0x57464C54)                                                      \
    X(WINVM_FAULT_SEQUENCE_BUGCHECK, 0x57564D30)

/* X(name, text) */
#define WINVM_STRINGS(X)                                                                    \
    X(WINVM_GREETING, "hello lyshark")      /* LYSHARK and ASYNC reads, no terminator */    \
    X(WINVM_SYNC_TEXT_A, "hi,lyshark A")    /* SYNC: A..E follow each other, per handle; */ \
    X(WINVM_SYNC_TEXT_B, "hi,lyshark B")    /* a read never crosses a string's end, and a */\
    X(WINVM_SYNC_TEXT_C, "hi,lyshark C")    /* short read leaves the rest to the next */    \
    X(WINVM_SYNC_TEXT_D, "hi,lyshark D")                                                    \
    X(WINVM_SYNC_TEXT_E, "hi,lyshark E")                                                    \
    X(WINVM_USERNAME, "hello zephyr")                                                       \
    X(WINVM_PASSWORD, "123456")                                                             \
    X(WINVM_PROCESS_EVENT_NAME, "ProcLook") /* \BaseNamedObjects\ProcLook, Global\ProcLook */

/* X(name, elements...): integer sequences. */
#define WINVM_SEQUENCES(X)                                                                  \
    X(WINVM_FAULT_SEQUENCE, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9,                    \
                            3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7)
/* clang-format on */

/* The generator needs the rows only. */
#ifndef WINVM_CONTRACT_ROWS_ONLY

#include <stddef.h>
#include <stdint.h>

/* For CreateFileA; the driver's own names are made from the same rows where it registers its devices. */
#define WINVM_DECLARE_PATH(device, name, link) static const char WINVM_PATH_##device[] = "\\\\.\\" link;
WINVM_DEVICES(WINVM_DECLARE_PATH)
#undef WINVM_DECLARE_PATH

#define WINVM_DECLARE_STRING(name, text) static const char name[] = text;
WINVM_STRINGS(WINVM_DECLARE_STRING)
#undef WINVM_DECLARE_STRING

#define WINVM_DECLARE_IOCTL(device, operation, type, function, method, access) \
    WINVM_IOCTL_##device##_##operation = (int)CTL_CODE(type, function, method, access),
enum winvm_ioctl { WINVM_IOCTLS(WINVM_DECLARE_IOCTL) WINVM_IOCTL_END = 0 };
#undef WINVM_DECLARE_IOCTL

#define WINVM_DECLARE_CONSTANT(name, value) name = (value),
enum winvm_constant { WINVM_CONSTANTS(WINVM_DECLARE_CONSTANT) WINVM_CONSTANT_END = 0 };
#undef WINVM_DECLARE_CONSTANT

#define WINVM_DECLARE_SEQUENCE(name, ...) static const uint32_t name[] = {__VA_ARGS__};
WINVM_SEQUENCES(WINVM_DECLARE_SEQUENCE)
#undef WINVM_DECLARE_SEQUENCE

#define WINVM_DECLARE_FIELD(structure, offset, type, name) type name;
#define WINVM_DECLARE_ARRAY(structure, offset, type, name, count) type name[count];
#define WINVM_DECLARE_STRUCTURE(structure, size, alignment, fields) \
    typedef struct structure {                                      \
        fields(WINVM_DECLARE_FIELD, WINVM_DECLARE_ARRAY)            \
    } structure;
WINVM_STRUCTURES(WINVM_DECLARE_STRUCTURE)
#undef WINVM_DECLARE_STRUCTURE
#undef WINVM_DECLARE_ARRAY
#undef WINVM_DECLARE_FIELD

#if defined(__cplusplus)
#define WINVM_ASSERT(condition) static_assert(condition, #condition)
#else
#define WINVM_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#define WINVM_ASSERT_FIELD(structure, offset, type, name) WINVM_ASSERT(offsetof(structure, name) == (offset));
#define WINVM_ASSERT_ARRAY(structure, offset, type, name, count) WINVM_ASSERT_FIELD(structure, offset, type, name)
#define WINVM_ASSERT_STRUCTURE(structure, size, alignment, fields) \
    WINVM_ASSERT(sizeof(structure) == (size));                     \
    WINVM_ASSERT(__alignof(structure) == (alignment));             \
    fields(WINVM_ASSERT_FIELD, WINVM_ASSERT_ARRAY)
WINVM_STRUCTURES(WINVM_ASSERT_STRUCTURE)
#undef WINVM_ASSERT_STRUCTURE
#undef WINVM_ASSERT_ARRAY
#undef WINVM_ASSERT_FIELD

#endif /* WINVM_CONTRACT_ROWS_ONLY */
#endif /* WINVM_CONTRACT_H */
