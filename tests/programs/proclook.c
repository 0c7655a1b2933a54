/* Process notification by a named event: starts a process and waits for its notification. */
#include <stdio.h>
#include <windows.h>
#include <winioctl.h>

#define IOCTL_PROCESS CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)

typedef struct {
    HANDLE pid;
    HANDLE parent;
    BOOLEAN created;
} process_info_t;

static DWORD WINAPI start_process(void *unused) {
    STARTUPINFOA startup = {0};
    PROCESS_INFORMATION process;
    char command[] = "cmd.exe /c exit";

    (void)unused;
    startup.cb = sizeof(startup);
    Sleep(200); /* the waiter must wait before the event is pulsed */
    if (CreateProcessA(NULL, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process)) {
        WaitForSingleObject(process.hProcess, 5000);
        CloseHandle(process.hThread);
        CloseHandle(process.hProcess);
    }
    return 0;
}

int main(void) {
    HANDLE device = CreateFileA("\\\\.\\Symboliclnk", GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    HANDLE event = OpenEventA(SYNCHRONIZE, FALSE, "Global\\ProcLook");
    process_info_t info = {0};
    DWORD count;

    if (device == INVALID_HANDLE_VALUE || event == NULL) {
        printf("open: error %lu\n", GetLastError());
        return 1;
    }
    HANDLE starter = CreateThread(NULL, 0, start_process, NULL, 0, NULL);
    DWORD waited = WaitForSingleObject(event, 3000);
    if (!DeviceIoControl(device, IOCTL_PROCESS, NULL, 0, &info, sizeof(info), &count, NULL) || count != sizeof(info)) {
        printf("newest: error %lu, %lu bytes\n", GetLastError(), count);
        return 1;
    }
    WaitForSingleObject(starter, 6000);
    printf("event %s, process %lu of %lu %s\n", waited == WAIT_OBJECT_0 ? "signalled" : "not signalled",
           (unsigned long)(ULONG_PTR)info.pid, (unsigned long)(ULONG_PTR)info.parent,
           info.created ? "started" : "exited");
    CloseHandle(starter);
    CloseHandle(event);
    CloseHandle(device);
    return waited == WAIT_OBJECT_0 && info.pid != NULL ? 0 : 1;
}
