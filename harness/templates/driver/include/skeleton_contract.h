/*
 * skeleton_contract.h - the public contract of the driver: its device, control codes, structures and constants.
 *
 * Everything is written once, as X-macro rows. The C declarations below and scenarios/contract.py are both expanded
 * from these rows, and both carry the same hash: scenarios made for another contract refuse to run. `make` keeps
 * scenarios/contract.py current.
 *
 * User mode: include <windows.h> and <winioctl.h> first. Kernel mode: include <wdm.h> first.
 */
#ifndef SKELETON_CONTRACT_H
#define SKELETON_CONTRACT_H

/* Raise the version when a row's meaning changes but its text does not; any other change changes the hash. */
#define SKELETON_CONTRACT_VERSION 1

/* X(device, name below \Device, symbolic link below \DosDevices) */
/* clang-format off */
#define SKELETON_DEVICES(X) \
    X(SKELETON, "Skeleton", "Skeleton")

/*
 * The device keeps one text: WriteFile sets it, ReadFile gets its first bytes.
 *
 * X(device, operation, device type, function, transfer method, required access)
 *
 * HELLO     out SKELETON_HELLO: which contract answers.
 * COUNTERS  out SKELETON_COUNTERS: what has happened since the driver was loaded.
 * CLEAR     forgets the text.
 * BUGCHECK  in SKELETON_BUGCHECK: KeBugCheckEx with these. Checked build only; the release build refuses it.
 */
#define SKELETON_IOCTLS(X)                                                                \
    X(SKELETON, HELLO,    FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)   \
    X(SKELETON, COUNTERS, FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS)  \
    X(SKELETON, CLEAR,    FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_WRITE_ACCESS) \
    X(SKELETON, BUGCHECK, FILE_DEVICE_UNKNOWN, 0x803, METHOD_BUFFERED, FILE_WRITE_ACCESS)

/*
 * X(structure, size in bytes, alignment in bytes, FIELDS); FIELDS(FIELD, ARRAY) lists
 * FIELD(structure, offset, type, name) and ARRAY(structure, offset, type, name, number of elements).
 */
#define SKELETON_HELLO_FIELDS(FIELD, ARRAY)                                               \
    FIELD(SKELETON_HELLO, 0, uint32_t, version)       /* SKELETON_CONTRACT_VERSION */     \
    ARRAY(SKELETON_HELLO, 4, uint8_t, hash, 32)       /* contract hash */

#define SKELETON_COUNTERS_FIELDS(FIELD, ARRAY)                                            \
    FIELD(SKELETON_COUNTERS, 0, uint32_t, reads)                                          \
    FIELD(SKELETON_COUNTERS, 4, uint32_t, writes)                                         \
    FIELD(SKELETON_COUNTERS, 8, uint32_t, length)     /* bytes of the text now */

#define SKELETON_BUGCHECK_FIELDS(FIELD, ARRAY)                                            \
    FIELD(SKELETON_BUGCHECK, 0, uint32_t, code)                                           \
    FIELD(SKELETON_BUGCHECK, 4, uint32_t, reserved)                                       \
    ARRAY(SKELETON_BUGCHECK, 8, uint64_t, parameters, 4)

#define SKELETON_STRUCTURES(X)                                                            \
    X(SKELETON_HELLO,    36, 4, SKELETON_HELLO_FIELDS)                                    \
    X(SKELETON_COUNTERS, 12, 4, SKELETON_COUNTERS_FIELDS)                                 \
    X(SKELETON_BUGCHECK, 40, 8, SKELETON_BUGCHECK_FIELDS)

/* X(name, value) */
#define SKELETON_CONSTANTS(X)                                                             \
    X(SKELETON_TEXT_LIMIT, 256)                       /* bytes; a longer text is refused */
/* clang-format on */

/* The generator of scenarios/contract.py expands the rows alone. */
#ifndef SKELETON_CONTRACT_ROWS_ONLY

#include <stddef.h>
#include <stdint.h>

#define SKELETON_DECLARE_IOCTL(device, operation, type, function, method, access) \
    SKELETON_IOCTL_##operation = (int)CTL_CODE(type, function, method, access),
enum skeleton_ioctl { SKELETON_IOCTLS(SKELETON_DECLARE_IOCTL) };
#undef SKELETON_DECLARE_IOCTL

#define SKELETON_DECLARE_CONSTANT(name, value) name = (value),
enum skeleton_constant { SKELETON_CONSTANTS(SKELETON_DECLARE_CONSTANT) };
#undef SKELETON_DECLARE_CONSTANT

#define SKELETON_DECLARE_FIELD(structure, offset, type, name) type name;
#define SKELETON_DECLARE_ARRAY(structure, offset, type, name, count) type name[count];
#define SKELETON_DECLARE_STRUCTURE(structure, size, alignment, fields) \
    typedef struct structure {                                         \
        fields(SKELETON_DECLARE_FIELD, SKELETON_DECLARE_ARRAY)         \
    } structure;
SKELETON_STRUCTURES(SKELETON_DECLARE_STRUCTURE)
#undef SKELETON_DECLARE_STRUCTURE
#undef SKELETON_DECLARE_ARRAY
#undef SKELETON_DECLARE_FIELD

#if defined(__cplusplus)
#define SKELETON_ASSERT(condition) static_assert(condition, #condition)
#else
#define SKELETON_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#define SKELETON_ASSERT_FIELD(structure, offset, type, name) SKELETON_ASSERT(offsetof(structure, name) == (offset));
#define SKELETON_ASSERT_ARRAY(structure, offset, type, name, count) SKELETON_ASSERT_FIELD(structure, offset, type, name)
#define SKELETON_ASSERT_STRUCTURE(structure, size, alignment, fields) \
    SKELETON_ASSERT(sizeof(structure) == (size));                     \
    SKELETON_ASSERT(__alignof(structure) == (alignment));             \
    fields(SKELETON_ASSERT_FIELD, SKELETON_ASSERT_ARRAY)
SKELETON_STRUCTURES(SKELETON_ASSERT_STRUCTURE)
#undef SKELETON_ASSERT_STRUCTURE
#undef SKELETON_ASSERT_ARRAY
#undef SKELETON_ASSERT_FIELD

#endif /* SKELETON_CONTRACT_ROWS_ONLY */
#endif /* SKELETON_CONTRACT_H */
