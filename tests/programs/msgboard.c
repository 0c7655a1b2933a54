/* Message board by direct transfer: shows a message, then gets it back. */
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>

#define IOCTL_SHOW CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_IN_DIRECT, FILE_ANY_ACCESS)
#define IOCTL_GET CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)

int main(void) {
    HANDLE device = CreateFileA("\\\\.\\MsgBoard", GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    char text[] = "a message from C";
    char buffer[128] = {0};
    DWORD count;

    if (device == INVALID_HANDLE_VALUE) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    if (!DeviceIoControl(device, IOCTL_SHOW, text, (DWORD)strlen(text), NULL, 0, &count, NULL)) {
        printf("show: error %lu\n", GetLastError());
        return 1;
    }
    if (!DeviceIoControl(device, IOCTL_GET, NULL, 0, buffer, sizeof(buffer) - 1, &count, NULL)) {
        printf("get: error %lu\n", GetLastError());
        return 1;
    }
    printf("got %lu bytes: %s\n", count, buffer);
    CloseHandle(device);
    return strcmp(buffer, text) == 0 ? 0 : 1;
}
