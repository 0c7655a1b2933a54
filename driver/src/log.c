/*
 * log.c - prints bytes from user mode to the debug output.
 */
#include "winvm.h"

/* DbgPrint cuts at 512 bytes on Windows, and raises at 1,000 on Wine. */
#define SHOWN 256

_Use_decl_annotations_ VOID WinvmLogText(PCSTR Device, PCSTR What, const VOID *Text, ULONG Length) {
    const UCHAR *bytes = Text;
    char shown[SHOWN + 1];
    ULONG count = min(Length, SHOWN);

    for (ULONG i = 0; i < count; i++) {
        shown[i] = bytes[i] >= 0x20 && bytes[i] < 0x7F ? (char)bytes[i] : '.';
    }
    shown[count] = '\0';
    DbgPrint("winvm: %s: %s %u bytes: %s\n", Device, What, Length, shown);
}
