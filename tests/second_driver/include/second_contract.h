/*
 * second_contract.h - the public contract of the driver: its device, control codes, structures and constants.
 *
 * Everything is written once, as X-macro rows. The C declarations below and scenarios/contract.py are both expanded
 * from these rows, and both carry the same hash: scenarios made for another contract refuse to run. `make` keeps
 * scenarios/contract.py current.
 *
 * User mode: include <windows.h> and <winioctl.h> first. Kernel mode: include <wdm.h> first.
 */
#ifndef SECOND_CONTRACT_H
#define SECOND_CONTRACT_H

/* Raise it when a row changes its meaning without changing its text; other changes change the hash. */
#define SECOND_CONTRACT_VERSION 1

/* X(device, name below \Device, symbolic link below \DosDevices) */
/* clang-format off */
#define SECOND_DEVICES(X) \
    X(SECOND, "Second", "Second")

/*
 * The device keeps one text: WriteFile sets it, ReadFile gets its first bytes.
 *
 * X(device, operation, device type, function, transfer method, required access)
 *
 * HELLO     out SECOND_HELLO: which contract answers.
 * COUNTERS  out SECOND_COUNTERS: what has happened since the driver was loaded.
 * CLEAR     forgets the text.
 * BUGCHECK  in SECOND_BUGCHECK: KeBugCheckEx with these. Checked build only; the release build refuses it.
 */
#define SECOND_IOCTLS(X)                                                                \
    X(SECOND, HELLO,    FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)   \
    X(SECOND, COUNTERS, FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS)  \
    X(SECOND, CLEAR,    FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_WRITE_ACCESS) \
    X(SECOND, BUGCHECK, FILE_DEVICE_UNKNOWN, 0x803, METHOD_BUFFERED, FILE_WRITE_ACCESS)

/*
 * X(structure, size in bytes, alignment in bytes, FIELDS); FIELDS(FIELD, ARRAY) lists
 * FIELD(structure, offset, type, name) and ARRAY(structure, offset, type, name, number of elements).
 */
#define SECOND_HELLO_FIELDS(FIELD, ARRAY)                                               \
    FIELD(SECOND_HELLO, 0, uint32_t, version)       /* SECOND_CONTRACT_VERSION */     \
    ARRAY(SECOND_HELLO, 4, uint8_t, hash, 32)       /* contract hash */

#define SECOND_COUNTERS_FIELDS(FIELD, ARRAY)                                            \
    FIELD(SECOND_COUNTERS, 0, uint32_t, reads)                                          \
    FIELD(SECOND_COUNTERS, 4, uint32_t, writes)                                         \
    FIELD(SECOND_COUNTERS, 8, uint32_t, length)     /* bytes of the text now */

#define SECOND_BUGCHECK_FIELDS(FIELD, ARRAY)                                            \
    FIELD(SECOND_BUGCHECK, 0, uint32_t, code)                                           \
    FIELD(SECOND_BUGCHECK, 4, uint32_t, reserved)                                       \
    ARRAY(SECOND_BUGCHECK, 8, uint64_t, parameters, 4)

#define SECOND_STRUCTURES(X)                                                            \
    X(SECOND_HELLO,    36, 4, SECOND_HELLO_FIELDS)                                    \
    X(SECOND_COUNTERS, 12, 4, SECOND_COUNTERS_FIELDS)                                 \
    X(SECOND_BUGCHECK, 40, 8, SECOND_BUGCHECK_FIELDS)

/* X(name, value) */
#define SECOND_CONSTANTS(X)                                                             \
    X(SECOND_TEXT_LIMIT, 256)                       /* bytes; a longer text is refused */
/* clang-format on */

/* The generator of scenarios/contract.py expands the rows alone. */
#ifndef SECOND_CONTRACT_ROWS_ONLY

#include <stddef.h>
#include <stdint.h>

#define SECOND_DECLARE_IOCTL(device, operation, type, function, method, access) \
    SECOND_IOCTL_##operation = (int)CTL_CODE(type, function, method, access),
enum second_ioctl { SECOND_IOCTLS(SECOND_DECLARE_IOCTL) };
#undef SECOND_DECLARE_IOCTL

#define SECOND_DECLARE_CONSTANT(name, value) name = (value),
enum second_constant { SECOND_CONSTANTS(SECOND_DECLARE_CONSTANT) };
#undef SECOND_DECLARE_CONSTANT

#define SECOND_DECLARE_FIELD(structure, offset, type, name) type name;
#define SECOND_DECLARE_ARRAY(structure, offset, type, name, count) type name[count];
#define SECOND_DECLARE_STRUCTURE(structure, size, alignment, fields) \
    typedef struct structure {                                         \
        fields(SECOND_DECLARE_FIELD, SECOND_DECLARE_ARRAY)         \
    } structure;
SECOND_STRUCTURES(SECOND_DECLARE_STRUCTURE)
#undef SECOND_DECLARE_STRUCTURE
#undef SECOND_DECLARE_ARRAY
#undef SECOND_DECLARE_FIELD

#if defined(__cplusplus)
#define SECOND_ASSERT(condition) static_assert(condition, #condition)
#else
#define SECOND_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#define SECOND_ASSERT_FIELD(structure, offset, type, name) SECOND_ASSERT(offsetof(structure, name) == (offset));
#define SECOND_ASSERT_ARRAY(structure, offset, type, name, count) SECOND_ASSERT_FIELD(structure, offset, type, name)
#define SECOND_ASSERT_STRUCTURE(structure, size, alignment, fields) \
    SECOND_ASSERT(sizeof(structure) == (size));                     \
    SECOND_ASSERT(__alignof(structure) == (alignment));             \
    fields(SECOND_ASSERT_FIELD, SECOND_ASSERT_ARRAY)
SECOND_STRUCTURES(SECOND_ASSERT_STRUCTURE)
#undef SECOND_ASSERT_STRUCTURE
#undef SECOND_ASSERT_ARRAY
#undef SECOND_ASSERT_FIELD

#endif /* SECOND_CONTRACT_ROWS_ONLY */
#endif /* SECOND_CONTRACT_H */
