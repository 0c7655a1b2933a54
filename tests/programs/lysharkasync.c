/* Overlapped reads: four at once, completed by the driver's timer. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

#define READS 4

int main(void) {
    HANDLE device =
        CreateFileA("\\\\.\\LySharkAsync", GENERIC_READ, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    OVERLAPPED overlapped[READS] = {0};
    char buffers[READS][32] = {0};
    int failed = 0;

    if (device == INVALID_HANDLE_VALUE) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    for (int i = 0; i < READS; i++) {
        overlapped[i].hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
        if (!ReadFile(device, buffers[i], sizeof(buffers[i]), NULL, &overlapped[i]) &&
            GetLastError() != ERROR_IO_PENDING) {
            printf("read %d: error %lu\n", i, GetLastError());
            return 1;
        }
    }
    for (int i = 0; i < READS; i++) {
        DWORD count = 0;

        if (!GetOverlappedResult(device, &overlapped[i], &count, TRUE) || strcmp(buffers[i], "hello lyshark") != 0) {
            printf("result %d: error %lu\n", i, GetLastError());
            failed = 1;
        }
        printf("read %d: %lu bytes: %s\n", i, count, buffers[i]);
        CloseHandle(overlapped[i].hEvent);
    }
    CloseHandle(device);
    return failed;
}
