/* planted_contract.h - devices and control codes of the driver of planted bugs. */
#pragma once

#define PLANTED_CONTRACT_VERSION 1

/* clang-format off */
/* X(device, name below \Device, symbolic link below \DosDevices) */
#define PLANTED_DEVICES(X)                     \
    X(LONG,     "PlantedLong",     "PlantedLong")     \
    X(SHORT,    "PlantedShort",    "PlantedShort")    \
    X(OVERFLOW, "PlantedOverflow", "PlantedOverflow") \
    X(FREED,    "PlantedFreed",    "PlantedFreed")    \
    X(RACE,     "PlantedRace",     "PlantedRace")

/* X(device, operation, device type, function, transfer method, required access) */
#define PLANTED_IOCTLS(X)                                                               \
    X(LONG,     STATUS, FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(LONG,     QUERY,  FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(SHORT,    STATUS, FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(SHORT,    MARK,   FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(OVERFLOW, STATUS, FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(OVERFLOW, FILL,   FILE_DEVICE_UNKNOWN, 0x803, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(FREED,    CREATE, FILE_DEVICE_UNKNOWN, 0x804, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(FREED,    DELETE, FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(FREED,    USE,    FILE_DEVICE_UNKNOWN, 0x806, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(RACE,     STATUS, FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS) \
    X(RACE,     QUEUE,  FILE_DEVICE_UNKNOWN, 0x807, METHOD_BUFFERED, FILE_ANY_ACCESS)
/* clang-format on */
