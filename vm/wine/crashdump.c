/* Writes the minidump of a process that crashed: the guest's AeDebug program.
 *
 *     crashdump.exe <file> <process> <event>
 *
 * Wine's UnhandledExceptionFilter starts it with the numbers of the process and of an event that the process
 * waits for. Wine's own debugger does the same work, with two faults here. It attaches with
 * DebugActiveProcess, which starts a thread in the process; a thread that has hardly begun may not answer when
 * MiniDumpWriteDump asks for its context, and then the debugger waits forever. And it loads the window system
 * and prints registers and stack, which costs seconds on an emulated processor.
 *
 * A driver that was built for coverage has its counters in a section of its own. They become a stream of the dump,
 * because a normal minidump holds no data of modules.
 *
 * The file appears under its name when it is complete. A process that cannot be dumped within LIMIT_MS ends
 * without a dump: it must not block the driver's service for longer. */
#include <windows.h>
#include <dbghelp.h>
#include <psapi.h>
#include <winternl.h>

#define LIMIT_MS 20000
#define PATH_LIMIT 260
#define MODULE_LIMIT 256
#define HEAD_LIMIT 4096
#define COUNTERS_SECTION ".lprfc"
#define COUNTERS_STREAM 0x57430001u  // "WC", the first: harness/coverage/crashed.py reads it
#define COUNTERS_LIMIT (16u << 20)
#define UNHANDLED_EXCEPTION 0xC0000144u  // STATUS_UNHANDLED_EXCEPTION

NTSTATUS NTAPI DbgUiConnectToDbg(void);
HANDLE NTAPI DbgUiGetThreadDebugObject(void);
NTSTATUS NTAPI NtDebugActiveProcess(HANDLE process, HANDLE debug_object);

static HANDLE crashed;

static DWORD WINAPI EndAtLimit(void *unused) {
    (void)unused;
    Sleep(LIMIT_MS);
    TerminateProcess(crashed, UNHANDLED_EXCEPTION);
    TerminateProcess(GetCurrentProcess(), 1);
    return 0;
}

/* The next word of a command line, ended by a zero; words hold no blanks. */
static char *NextWord(char **line) {
    char *at = *line;
    while (*at == ' ') at++;
    char *word = at;
    while (*at && *at != ' ') at++;
    if (*at) *at++ = 0;
    *line = at;
    return word;
}

static ULONG_PTR Number(const char *digits) {
    ULONG_PTR number = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++) number = number * 10 + (ULONG_PTR)(*digits - '0');
    return number;
}

/* Copies the section of a module's counters out of the process; FALSE if it has none. */
static BOOL ReadCounters(HMODULE module, MINIDUMP_USER_STREAM *stream) {
    static union {
        IMAGE_DOS_HEADER dos;
        char bytes[HEAD_LIMIT];
    } head;
    SIZE_T got = 0;
    if (!ReadProcessMemory(crashed, module, &head, sizeof(head), &got) || got != sizeof(head)) return FALSE;
    ULONG at = (ULONG)head.dos.e_lfanew;
    if (head.dos.e_magic != IMAGE_DOS_SIGNATURE || at > HEAD_LIMIT - sizeof(IMAGE_NT_HEADERS64)) return FALSE;
    const IMAGE_NT_HEADERS64 *nt = (const void *)(head.bytes + at);
    ULONG first = at + FIELD_OFFSET(IMAGE_NT_HEADERS64, OptionalHeader) + nt->FileHeader.SizeOfOptionalHeader;
    for (ULONG i = 0; i < nt->FileHeader.NumberOfSections; i++) {
        if (first + (i + 1) * sizeof(IMAGE_SECTION_HEADER) > HEAD_LIMIT) return FALSE;
        const IMAGE_SECTION_HEADER *section = (const void *)(head.bytes + first + i * sizeof(*section));
        ULONG size = section->Misc.VirtualSize;
        if (lstrcmpA((const char *)section->Name, COUNTERS_SECTION) != 0 || size > COUNTERS_LIMIT) continue;
        stream->Type = COUNTERS_STREAM;
        stream->BufferSize = size;
        stream->Buffer = HeapAlloc(GetProcessHeap(), 0, size);
        return stream->Buffer &&
               ReadProcessMemory(crashed, (char *)module + section->VirtualAddress, stream->Buffer, size, &got);
    }
    return FALSE;
}

static BOOL FindCounters(MINIDUMP_USER_STREAM *stream) {
    static HMODULE modules[MODULE_LIMIT];
    DWORD needed = 0;
    if (!K32EnumProcessModules(crashed, modules, sizeof(modules), &needed)) return FALSE;
    for (DWORD i = 0; i < MODULE_LIMIT && i < needed / sizeof(HMODULE); i++) {
        if (ReadCounters(modules[i], stream)) return TRUE;
    }
    return FALSE;
}

static BOOL WriteDump(const char *file, DWORD process, DEBUG_EVENT *event) {
    static CONTEXT context;  // 16-byte aligned by its type
    char partial[PATH_LIMIT];
    HANDLE thread = OpenThread(THREAD_ALL_ACCESS, FALSE, event->dwThreadId);
    if (thread == NULL || lstrlenA(file) + sizeof(".part") > sizeof(partial)) return FALSE;
    lstrcpyA(partial, file);
    lstrcatA(partial, ".part");
    context.ContextFlags = CONTEXT_ALL;
    if (!GetThreadContext(thread, &context)) return FALSE;
    EXCEPTION_POINTERS pointers = {&event->u.Exception.ExceptionRecord, &context};
    MINIDUMP_EXCEPTION_INFORMATION information = {event->dwThreadId, &pointers, FALSE};
    HANDLE dump = CreateFileA(partial, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (dump == INVALID_HANDLE_VALUE) return FALSE;
    MINIDUMP_USER_STREAM counters;
    MINIDUMP_USER_STREAM_INFORMATION streams = {1, &counters};
    BOOL counted = FindCounters(&counters);
    BOOL written =
        MiniDumpWriteDump(crashed, process, dump, MiniDumpNormal, &information, counted ? &streams : NULL, NULL);
    CloseHandle(dump);
    return written && MoveFileExA(partial, file, MOVEFILE_REPLACE_EXISTING);
}

void Start(void) {
    char *line = GetCommandLineA();
    NextWord(&line);
    const char *file = NextWord(&line);
    DWORD process = (DWORD)Number(NextWord(&line));
    HANDLE event = (HANDLE)Number(NextWord(&line));
    DEBUG_EVENT seen;

    crashed = OpenProcess(PROCESS_ALL_ACCESS, FALSE, process);
    if (crashed == NULL || CreateThread(NULL, 0, EndAtLimit, NULL, 0, NULL) == NULL) ExitProcess(1);
    // NtDebugActiveProcess attaches and starts no thread in the process.
    if (DbgUiConnectToDbg() < 0 || NtDebugActiveProcess(crashed, DbgUiGetThreadDebugObject()) < 0) {
        TerminateProcess(crashed, UNHANDLED_EXCEPTION);
        ExitProcess(1);
    }
    SetEvent(event);  // the process goes on, and raises its exception again for the debugger
    while (WaitForDebugEvent(&seen, LIMIT_MS) && seen.dwDebugEventCode != EXIT_PROCESS_DEBUG_EVENT) {
        if (seen.dwDebugEventCode == EXCEPTION_DEBUG_EVENT) {
            BOOL written = WriteDump(file, process, &seen);
            TerminateProcess(crashed, (UINT)seen.u.Exception.ExceptionRecord.ExceptionCode);
            ExitProcess(written ? 0 : 1);
        }
        ContinueDebugEvent(seen.dwProcessId, seen.dwThreadId, DBG_CONTINUE);
    }
    ExitProcess(1);
}
