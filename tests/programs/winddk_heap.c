/* This process's heap, passed to the driver by pointer. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>
#include <winioctl.h>

#define IOCTL_HEAP CTL_CODE(FILE_DEVICE_UNKNOWN, 0x806, METHOD_BUFFERED, FILE_ANY_ACCESS)

typedef struct {
    ULONG_PTR nSize;
    PVOID BufferPtr;
} buffer_pointer_t;

typedef struct {
    ULONG PID;
    ULONG PPID;
} process_t;

int main(void) {
    HANDLE device = CreateFileA("\\\\.\\WinDDK", GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    process_t *list = calloc(1024, sizeof(process_t));
    buffer_pointer_t in = {1024 * sizeof(process_t), list};
    DWORD filled = 0;
    DWORD count;

    if (device == INVALID_HANDLE_VALUE || list == NULL) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    if (!DeviceIoControl(device, IOCTL_HEAP, &in, sizeof(in), &filled, sizeof(filled), &count, NULL)) {
        printf("fill: error %lu\n", GetLastError());
        return 1;
    }
    printf("%lu records\n", filled);
    if (filled != 10) {
        return 1;
    }
    for (DWORD i = 0; i < filled; i++) {
        if (list[i].PID != 2 * i || list[i].PPID != 4 * i) {
            printf("record %lu: %lu, %lu\n", i, list[i].PID, list[i].PPID);
            return 1;
        }
    }
    free(list);
    CloseHandle(device);
    return 0;
}
