/* Buffered read and write, by one program at a time. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

int main(void) {
    const char *name = "\\\\.\\LySharkDriver";
    const char *text = "written by a C program";
    HANDLE device =
        CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    char buffer[64];
    int failed = 0;
    DWORD count;

    if (device == INVALID_HANDLE_VALUE) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    memset(buffer, 0, sizeof(buffer));
    if (!ReadFile(device, buffer, sizeof(buffer), &count, NULL) || count != 13 ||
        strcmp(buffer, "hello lyshark") != 0) {
        printf("read: error %lu, %lu bytes\n", GetLastError(), count);
        failed = 1;
    }
    printf("read %lu bytes: %.*s\n", count, (int)sizeof(buffer), buffer);
    if (!WriteFile(device, text, (DWORD)strlen(text), &count, NULL) || count != strlen(text)) {
        printf("write: error %lu, %lu bytes\n", GetLastError(), count);
        failed = 1;
    }
    /* Wine hands out a handle whatever the driver says; the driver must then serve nothing on it. */
    HANDLE second = CreateFileA(name, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    if (second != INVALID_HANDLE_VALUE) {
        if (ReadFile(second, buffer, sizeof(buffer), &count, NULL)) {
            printf("the device was opened twice\n");
            failed = 1;
        }
        CloseHandle(second);
    }
    CloseHandle(device);
    return failed;
}
