/* Reads the security descriptor strings that drivers give to IoCreateDeviceSecure, and puts the list on a device.
   Grammar: https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-string-format; of it, a protected or
   plain DACL of access-allowed entries with generic or numeric rights. Anything else is refused, never ignored. */
#include <ntifs.h>
#include "sddl.h"

#define ACL_BYTES 1024
#define SID_BYTES 64

typedef struct _TRUSTEE {
    WCHAR Name[3];
    UCHAR Authority;
    UCHAR Count;
    ULONG Identifiers[2];
} TRUSTEE;

static const TRUSTEE trustees[] = {
    {L"SY", 5, 1, {18, 0}},   {L"BA", 5, 2, {32, 544}}, {L"BU", 5, 2, {32, 545}}, {L"BG", 5, 2, {32, 546}},
    {L"PU", 5, 2, {32, 547}}, {L"SO", 5, 2, {32, 549}}, {L"LS", 5, 1, {19, 0}},   {L"NS", 5, 1, {20, 0}},
    {L"AU", 5, 1, {11, 0}},   {L"IU", 5, 1, {4, 0}},    {L"NU", 5, 1, {2, 0}},    {L"SU", 5, 1, {6, 0}},
    {L"AN", 5, 1, {7, 0}},    {L"RC", 5, 1, {12, 0}},   {L"WD", 1, 1, {0, 0}},    {L"OW", 3, 1, {4, 0}},
    {L"CO", 3, 1, {0, 0}},    {L"AC", 15, 2, {2, 1}},   {L"UD", 5, 2, {84, 0}},
};

static const struct {
    WCHAR Name[3];
    ACCESS_MASK Access;
} rights[] = {
    {L"GA", GENERIC_ALL},        {L"GR", GENERIC_READ},        {L"GW", GENERIC_WRITE},        {L"GX", GENERIC_EXECUTE},
    {L"RC", READ_CONTROL},       {L"SD", DELETE},              {L"WD", WRITE_DAC},            {L"WO", WRITE_OWNER},
    {L"FA", FILE_ALL_ACCESS},    {L"FR", FILE_GENERIC_READ},   {L"FW", FILE_GENERIC_WRITE},   {L"FX", FILE_GENERIC_EXECUTE},
};

typedef struct _TEXT {
    const WCHAR *At;
    const WCHAR *End;
} TEXT_CURSOR;

static BOOLEAN Take(TEXT_CURSOR *text, WCHAR wanted) {
    if (text->At == text->End || *text->At != wanted) return FALSE;
    text->At++;
    return TRUE;
}

static BOOLEAN Number(TEXT_CURSOR *text, ULONG *value) {
    const WCHAR *start;
    ULONG base = 10;
    *value = 0;
    if (text->End - text->At > 2 && text->At[0] == '0' && (text->At[1] | 0x20) == 'x') {
        base = 16;
        text->At += 2;
    }
    for (start = text->At; text->At < text->End; text->At++) {
        WCHAR c = *text->At;
        ULONG digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : 99;
        if (digit >= base) break;
        if (*value > (MAXULONG - digit) / base) return FALSE;
        *value = *value * base + digit;
    }
    return text->At != start;
}

static BOOLEAN Rights(TEXT_CURSOR *text, ACCESS_MASK *access) {
    *access = 0;
    if (text->At < text->End && *text->At == '0') return Number(text, access);
    while (text->End - text->At >= 2 && *text->At != ';') {
        ULONG i;
        for (i = 0; i < RTL_NUMBER_OF(rights); i++)
            if (rights[i].Name[0] == text->At[0] && rights[i].Name[1] == text->At[1]) break;
        if (i == RTL_NUMBER_OF(rights)) return FALSE;
        *access |= rights[i].Access;
        text->At += 2;
    }
    return *access != 0;
}

static NTSTATUS Trustee(TEXT_CURSOR *text, PSID sid) {
    SID_IDENTIFIER_AUTHORITY authority = {{0, 0, 0, 0, 0, 0}};
    ULONG identifiers[SID_MAX_SUB_AUTHORITIES], count = 0, value, i;
    if (text->End - text->At > 4 && text->At[0] == 'S' && text->At[1] == '-') {
        text->At += 2;
        if (!Number(text, &value) || value != SID_REVISION || !Take(text, '-') || !Number(text, &value) || value > 255)
            return STATUS_INVALID_PARAMETER;
        authority.Value[5] = (UCHAR)value;
        while (Take(text, '-')) {
            if (count == 8 || !Number(text, &identifiers[count])) return STATUS_INVALID_PARAMETER;
            count++;
        }
    } else {
        if (text->End - text->At < 2) return STATUS_INVALID_PARAMETER;
        for (i = 0; i < RTL_NUMBER_OF(trustees); i++)
            if (trustees[i].Name[0] == text->At[0] && trustees[i].Name[1] == text->At[1]) break;
        if (i == RTL_NUMBER_OF(trustees)) return STATUS_INVALID_PARAMETER;
        authority.Value[5] = trustees[i].Authority;
        count = trustees[i].Count;
        for (value = 0; value < count; value++) identifiers[value] = trustees[i].Identifiers[value];
        text->At += 2;
    }
    if (!count || !NT_SUCCESS(RtlInitializeSid(sid, &authority, (UCHAR)count))) return STATUS_INVALID_PARAMETER;
    for (i = 0; i < count; i++) *RtlSubAuthoritySid(sid, i) = identifiers[i];
    return STATUS_SUCCESS;
}

static NTSTATUS Entry(TEXT_CURSOR *text, PACL acl) {
    UCHAR bytes[SID_BYTES] __attribute__((aligned(8)));
    ACCESS_MASK access;
    NTSTATUS status;
    if (!Take(text, 'A') || !Take(text, ';') || !Take(text, ';') || !Rights(text, &access)) return STATUS_INVALID_PARAMETER;
    if (!Take(text, ';') || !Take(text, ';') || !Take(text, ';')) return STATUS_INVALID_PARAMETER;
    status = Trustee(text, bytes);
    if (NT_SUCCESS(status)) status = Take(text, ')') ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
    return NT_SUCCESS(status) ? RtlAddAccessAllowedAce(acl, ACL_REVISION, access, bytes) : status;
}

NTSTATUS WinvmSecureDevice(PDEVICE_OBJECT Device, PCUNICODE_STRING Sddl) {
    UCHAR bytes[ACL_BYTES] __attribute__((aligned(8)));
    TEXT_CURSOR text = {Sddl->Buffer, Sddl->Buffer + Sddl->Length / sizeof(WCHAR)};
    SECURITY_DESCRIPTOR descriptor;
    HANDLE handle;
    NTSTATUS status = RtlCreateAcl((PACL)bytes, sizeof(bytes), ACL_REVISION);
    if (!NT_SUCCESS(status)) return status;
    if (!Take(&text, 'D') || !Take(&text, ':')) return STATUS_INVALID_PARAMETER;
    Take(&text, 'P');
    while (Take(&text, '(')) {
        status = Entry(&text, (PACL)bytes);
        if (!NT_SUCCESS(status)) return status;
    }
    if (text.At != text.End) return STATUS_INVALID_PARAMETER;
    status = RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);
    if (NT_SUCCESS(status)) status = RtlSetDaclSecurityDescriptor(&descriptor, TRUE, (PACL)bytes, FALSE);
    if (!NT_SUCCESS(status)) return status;
    status = ObOpenObjectByPointer(Device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
    if (!NT_SUCCESS(status)) return status;
    status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
    ZwClose(handle);
    return status;
}
