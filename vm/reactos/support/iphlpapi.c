/* Routines of iphlpapi.dll that CPython's _socket imports: this system names no network interfaces. */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "own.h"

DWORD WINAPI OWN(ConvertInterfaceLuidToNameW)(const void *luid, PWSTR name, SIZE_T size) {
    (void)luid, (void)name, (void)size;
    return ERROR_NOT_SUPPORTED;
}

VOID WINAPI OWN(FreeMibTable)(PVOID memory) {
    (void)memory;
}

DWORD WINAPI OWN(GetIfTable2Ex)(DWORD level, void **table) {
    (void)level;
    if (table) *table = NULL;
    return ERROR_NOT_SUPPORTED;
}

PCHAR WINAPI OWN(if_indextoname)(ULONG index, PCHAR name) {
    (void)index, (void)name;
    return NULL;
}

ULONG WINAPI OWN(if_nametoindex)(PCSTR name) {
    (void)name;
    return 0;
}
