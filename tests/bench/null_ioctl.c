/* Prints the microseconds of one GET of register 1 (4 bytes out), the mean over COUNT: null_ioctl.exe COUNT */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

#define GET_R1 0x222000
#define WARM_UP 200

static int get(HANDLE device) {
    int value;
    DWORD count;
    return DeviceIoControl(device, GET_R1, NULL, 0, &value, sizeof value, &count, NULL) && count == sizeof value;
}

int main(int argc, char **argv) {
    int total = argc > 1 ? atoi(argv[1]) : 1000;
    LARGE_INTEGER frequency, begin, end;
    HANDLE device = CreateFileA("\\\\.\\CR42VirtualRegister", GENERIC_READ | GENERIC_WRITE,
                                FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    if (device == INVALID_HANDLE_VALUE) {
        fprintf(stderr, "CreateFile: error %lu\n", GetLastError());
        return 1;
    }
    QueryPerformanceFrequency(&frequency);
    for (int i = 0; i < WARM_UP; i++) get(device);
    QueryPerformanceCounter(&begin);
    for (int i = 0; i < total; i++) {
        if (!get(device)) {
            fprintf(stderr, "DeviceIoControl: error %lu\n", GetLastError());
            return 1;
        }
    }
    QueryPerformanceCounter(&end);
    printf("%.3f\n", (double)(end.QuadPart - begin.QuadPart) * 1e6 / (double)frequency.QuadPart / total);
    return 0;
}
