/* Kernel memory mapped into this process: 716 users. */
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>

#define IOCTL_MDL CTL_CODE(FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS)

typedef struct {
    char username[256];
    char password[256];
    int count;
} user_t;

int main(void) {
    HANDLE device =
        CreateFileA("\\\\.\\WinDDK", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    user_t *users = NULL;
    DWORD count = 0;

    if (device == INVALID_HANDLE_VALUE) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    if (!DeviceIoControl(device, IOCTL_MDL, NULL, 0, &users, sizeof(users), &count, NULL)) {
        printf("map: error %lu\n", GetLastError());
        return 1;
    }
    printf("mapped at %p, %d users\n", (void *)users, users[0].count);
    if (count != sizeof(users) || users[0].count != 716) {
        return 1;
    }
    for (int i = 0; i < users[0].count; i++) {
        if (strcmp(users[i].username, "hello zephyr") != 0 || strcmp(users[i].password, "123456") != 0) {
            printf("user %d is wrong\n", i);
            return 1;
        }
    }
    CloseHandle(device);
    return 0;
}
