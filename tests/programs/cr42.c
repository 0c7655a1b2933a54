/* Virtual registers: write and read register 1 as a file, then set and get all three by control code. */
#include <stdio.h>
#include <windows.h>
#include <winioctl.h>

#define IOCTL_GET1 CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_GET2 CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_GET3 CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_SET1 CTL_CODE(FILE_DEVICE_UNKNOWN, 0x803, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_SET2 CTL_CODE(FILE_DEVICE_UNKNOWN, 0x804, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_SET3 CTL_CODE(FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS)

int main(void) {
    static const DWORD get[] = {IOCTL_GET1, IOCTL_GET2, IOCTL_GET3};
    static const DWORD set[] = {IOCTL_SET1, IOCTL_SET2, IOCTL_SET3};
    HANDLE device =
        CreateFileA("\\\\.\\CR42VirtualRegister", GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    int values[2] = {4242, -1};
    int failed = 0;
    DWORD count;

    if (device == INVALID_HANDLE_VALUE) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    if (!WriteFile(device, values, sizeof(values), &count, NULL) || count != 4) {
        printf("write: error %lu, %lu bytes\n", GetLastError(), count);
        failed = 1;
    }
    values[0] = 0;
    if (!ReadFile(device, values, sizeof(values), &count, NULL) || count != 4 || values[0] != 4242) {
        printf("read: error %lu, %lu bytes, value %d\n", GetLastError(), count, values[0]);
        failed = 1;
    }
    printf("register 1 by file: %d\n", values[0]);
    for (int i = 0; i < 3; i++) {
        int in = 100 * (i + 1);
        int out = 0;

        if (!DeviceIoControl(device, set[i], &in, sizeof(in), NULL, 0, &count, NULL)) {
            printf("set %d: error %lu\n", i + 1, GetLastError());
            failed = 1;
        }
        if (!DeviceIoControl(device, get[i], NULL, 0, &out, sizeof(out), &count, NULL) || count != 4 || out != in) {
            printf("get %d: error %lu, %lu bytes, value %d\n", i + 1, GetLastError(), count, out);
            failed = 1;
        }
        printf("register %d: %d\n", i + 1, out);
    }
    CloseHandle(device);
    return failed;
}
