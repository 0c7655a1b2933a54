/* Direct read until the data ends: five strings. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

int main(void) {
    HANDLE device =
        CreateFileA("\\\\.\\LySharkSync", GENERIC_READ, 0, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    char expected[] = "hi,lyshark A";
    char buffer[20];
    int lines = 0;
    DWORD count;

    if (device == INVALID_HANDLE_VALUE) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    for (;;) {
        if (!ReadFile(device, buffer, sizeof(buffer), &count, NULL)) {
            printf("read: error %lu\n", GetLastError());
            return 1;
        }
        if (count == 0) {
            break;
        }
        printf("read %lu bytes: %.*s\n", count, (int)count, buffer);
        if (count != strlen(expected) || memcmp(buffer, expected, count) != 0) {
            return 1;
        }
        expected[strlen(expected) - 1]++;
        lines++;
    }
    CloseHandle(device);
    return lines == 5 ? 0 : 1;
}
