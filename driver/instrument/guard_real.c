/*
 * guard_real.c - the kernel's own routines behind those that the guard stands for, and exports of the process in which
 * a guest without Windows runs its drivers.
 */
#include "guard.h"

PVOID GuardReals[GuardRealCount];

#define GUARD_NAME(name) L## #name,
static const PCWSTR Names[GuardRealCount] = {GUARD_ROUTINES(GUARD_NAME)};

VOID GuardFindRoutines(VOID) {
    for (ULONG i = 0; i < GuardRealCount; i++) {
        UNICODE_STRING name;

        RtlInitUnicodeString(&name, Names[i]);
        GuardReals[i] = MmGetSystemRoutineAddress(&name);
    }
}

static BOOLEAN IsName(const UNICODE_STRING *Name, PCSTR Wanted) {
    USHORT length = Name->Length / sizeof(WCHAR);

    for (USHORT i = 0; i < length; i++) {
        WCHAR one = Name->Buffer[i];
        if (one >= L'A' && one <= L'Z') {
            one = (WCHAR)(one + 32);
        }
        if (Wanted[i] == 0 || one != (WCHAR)Wanted[i]) {
            return FALSE;
        }
    }
    return Wanted[length] == 0;
}

static BOOLEAN IsText(PCSTR Text, PCSTR Wanted) {
    while (*Text && *Text == *Wanted) {
        Text++;
        Wanted++;
    }
    return *Text == *Wanted;
}

static PVOID Find(PUCHAR Base, PCSTR Name) {
    ULONG header = *(ULONG *)(Base + 0x3C);
    PUCHAR directory = Base + *(ULONG *)(Base + header + 24 + 112);
    ULONG count = *(ULONG *)(directory + 24);
    ULONG *functions = (ULONG *)(Base + *(ULONG *)(directory + 28));
    ULONG *names = (ULONG *)(Base + *(ULONG *)(directory + 32));
    USHORT *ordinals = (USHORT *)(Base + *(ULONG *)(directory + 36));

    for (ULONG i = 0; i < count; i++) {
        if (IsText((PCSTR)(Base + names[i]), Name)) {
            return Base + functions[ordinals[i]];
        }
    }
    return NULL;
}

/* The loader's list of a process: TEB+0x60 PEB, PEB+0x18 loader data, +0x10 modules in load order; in an entry +0x30 is
   the base and +0x58 the file name. */
PVOID GuardExport(PCSTR Module, PCSTR Name) {
    PUCHAR process = (PUCHAR)__readgsqword(0x60);
    PLIST_ENTRY modules = (PLIST_ENTRY)(*(PUCHAR *)(process + 0x18) + 0x10);

    for (PLIST_ENTRY entry = modules->Flink; entry != modules; entry = entry->Flink) {
        if (IsName((const UNICODE_STRING *)((PUCHAR)entry + 0x58), Module)) {
            return Find(*(PUCHAR *)((PUCHAR)entry + 0x30), Name);
        }
    }
    return NULL;
}
