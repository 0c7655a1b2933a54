/* Routines of kernel32.dll that CPython imports and NT 5.2 does not have, by those that NT 5.2 has.
 *
 * Where the older system can do less than the documentation of Windows promises, the comment says so. */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "own.h"

/* NT 5.2 cancels only what the calling thread has issued on the handle, and all of it. */
BOOL WINAPI OWN(CancelIoEx)(HANDLE file, OVERLAPPED *operation) {
    typedef LONG(WINAPI * Cancel)(HANDLE, void *, void *);
    struct {
        void *status;
        ULONG_PTR information;
    } block;
    Cancel cancel = (Cancel)(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtCancelIoFileEx");
    if (!cancel) return CancelIo(file);
    LONG status = cancel(file, operation, &block);
    if (status >= 0) return TRUE;
    SetLastError(status == (LONG)0xC0000225 ? ERROR_NOT_FOUND : ERROR_INVALID_HANDLE);
    return FALSE;
}

WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR letter);

static int compared(WCHAR letter, BOOL ignore_case) {
    return ignore_case ? RtlUpcaseUnicodeChar(letter) : letter;
}

int WINAPI OWN(CompareStringOrdinal)(LPCWCH left, int left_length, LPCWCH right, int right_length, BOOL ignore) {
    if (!left || !right || left_length < -1 || right_length < -1) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return 0;
    }
    left_length = left_length < 0 ? lstrlenW(left) : left_length;
    right_length = right_length < 0 ? lstrlenW(right) : right_length;
    for (int at = 0; at < left_length && at < right_length; at++) {
        int difference = compared(left[at], ignore) - compared(right[at], ignore);
        if (difference) return difference < 0 ? CSTR_LESS_THAN : CSTR_GREATER_THAN;
    }
    if (left_length == right_length) return CSTR_EQUAL;
    return left_length < right_length ? CSTR_LESS_THAN : CSTR_GREATER_THAN;
}

/* NT 5.2 has one processor group. */
static BOOL first_group(WORD group) {
    if (group == 0 || group == ALL_PROCESSOR_GROUPS) return TRUE;
    SetLastError(ERROR_INVALID_PARAMETER);
    return FALSE;
}

DWORD WINAPI OWN(GetActiveProcessorCount)(WORD group) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return first_group(group) ? info.dwNumberOfProcessors : 0;
}

DWORD WINAPI OWN(GetMaximumProcessorCount)(WORD group) {
    return OWN(GetActiveProcessorCount)(group);
}

WORD WINAPI OWN(GetActiveProcessorGroupCount)(void) {
    return 1;
}

WORD WINAPI OWN(GetMaximumProcessorGroupCount)(void) {
    return 1;
}

/* Another thread that asks at the same moment may see the mode 0. */
UINT WINAPI OWN(GetErrorMode)(void) {
    UINT mode = SetErrorMode(0);
    SetErrorMode(mode);
    return mode;
}

/* The locale's name counts only as far as NULL (the user's) and all others (invariant) are told apart. */
int WINAPI OWN(LCMapStringEx)(LPCWSTR locale, DWORD flags, LPCWSTR source, int source_length, LPWSTR target,
                              int target_length, LPNLSVERSIONINFO version, LPVOID reserved, LPARAM handle) {
    (void)version, (void)reserved, (void)handle;
    return LCMapStringW(locale ? LOCALE_INVARIANT : LOCALE_USER_DEFAULT, flags, source, source_length, target,
                        target_length);
}

/* The timer has the resolution of the system's clock, whatever the flags ask for. */
HANDLE WINAPI OWN(CreateWaitableTimerExW)(LPSECURITY_ATTRIBUTES security, LPCWSTR name, DWORD flags, DWORD access) {
    (void)access;
    return CreateWaitableTimerW(security, (flags & CREATE_WAITABLE_TIMER_MANUAL_RESET) != 0, name);
}

/* The tolerated delay is not used: the timer is never later than it would be without it. */
BOOL WINAPI OWN(SetWaitableTimerEx)(HANDLE timer, const LARGE_INTEGER *due, LONG period, PTIMERAPCROUTINE routine,
                                    LPVOID argument, PREASON_CONTEXT context, ULONG delay) {
    (void)context, (void)delay;
    return SetWaitableTimer(timer, due, period, routine, argument, FALSE);
}

/* Attributes of a new process: counted, and of no effect. A child inherits every inheritable handle. */
typedef struct {
    ULONG_PTR limit, used;
} Attributes;

BOOL WINAPI OWN(InitializeProcThreadAttributeList)(LPPROC_THREAD_ATTRIBUTE_LIST list, DWORD count, DWORD flags,
                                                   PSIZE_T size) {
    if (flags || !size) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    BOOL fits = list && *size >= sizeof(Attributes);
    *size = sizeof(Attributes);
    if (!fits) {
        SetLastError(ERROR_INSUFFICIENT_BUFFER);
        return FALSE;
    }
    ((Attributes *)list)->limit = count;
    ((Attributes *)list)->used = 0;
    return TRUE;
}

BOOL WINAPI OWN(UpdateProcThreadAttribute)(LPPROC_THREAD_ATTRIBUTE_LIST list, DWORD flags, DWORD_PTR attribute,
                                           PVOID value, SIZE_T size, PVOID previous, PSIZE_T returned) {
    Attributes *attributes = (Attributes *)list;
    (void)attribute, (void)value, (void)size, (void)previous, (void)returned;
    if (flags || !attributes || attributes->used >= attributes->limit) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    attributes->used++;
    return TRUE;
}

VOID WINAPI OWN(DeleteProcThreadAttributeList)(LPPROC_THREAD_ATTRIBUTE_LIST list) {
    (void)list;
}

/* Without the extended part of STARTUPINFOEXW, which NT 5.2 does not know. */
BOOL WINAPI OWN(CreateProcessW)(LPCWSTR program, LPWSTR command, LPSECURITY_ATTRIBUTES process,
                                LPSECURITY_ATTRIBUTES thread, BOOL inherit, DWORD flags, LPVOID environment,
                                LPCWSTR folder, LPSTARTUPINFOW startup, LPPROCESS_INFORMATION information) {
    STARTUPINFOW plain = *startup;
    if (flags & EXTENDED_STARTUPINFO_PRESENT) plain.cb = sizeof(plain);
    return CreateProcessW(program, command, process, thread, inherit, flags & ~(DWORD)EXTENDED_STARTUPINFO_PRESENT,
                          environment, folder, &plain, information);
}
