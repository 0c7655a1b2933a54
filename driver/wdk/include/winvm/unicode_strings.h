/* The RtlUnicodeString routines of ntstrsafe.h: lengths are those of the UNICODE_STRING, in bytes; no null is written. */
#pragma once

WINVM_STRSAFE NTSTATUS RtlUnicodeStringValidate(PCUNICODE_STRING s) {
    if (!s || s->Length % 2 || s->MaximumLength % 2 || s->Length > s->MaximumLength || (!s->Buffer && s->MaximumLength))
        return STATUS_INVALID_PARAMETER;
    return STATUS_SUCCESS;
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringInit(PUNICODE_STRING to, NTSTRSAFE_PCWSTR from) {
    size_t length = from ? wcslen(from) * sizeof(wchar_t) : 0;
    if (length > 0xfffe - sizeof(wchar_t)) return STATUS_INVALID_PARAMETER;
    to->Buffer = (PWSTR)from;
    to->Length = (USHORT)length;
    to->MaximumLength = (USHORT)(from ? length + sizeof(wchar_t) : 0);
    return STATUS_SUCCESS;
}

WINVM_STRSAFE NTSTATUS winvm_unicode_append(PUNICODE_STRING to, USHORT used, const wchar_t *from, size_t bytes) {
    size_t room = to->MaximumLength - used;
    NTSTATUS status = RtlUnicodeStringValidate(to);
    if (!NT_SUCCESS(status)) return status;
    if (bytes > room) {
        bytes = room;
        status = STATUS_BUFFER_OVERFLOW;
    }
    if (bytes) memmove((char *)to->Buffer + used, from, bytes);
    to->Length = (USHORT)(used + bytes);
    return status;
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCopy(PUNICODE_STRING to, PCUNICODE_STRING from) {
    return winvm_unicode_append(to, 0, from->Buffer, from->Length);
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCopyString(PUNICODE_STRING to, NTSTRSAFE_PCWSTR from) {
    return winvm_unicode_append(to, 0, from, wcslen(from) * sizeof(wchar_t));
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCbCopyN(PUNICODE_STRING to, PCUNICODE_STRING from, size_t most) {
    return winvm_unicode_append(to, 0, from->Buffer, from->Length < most ? from->Length : most);
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCchCopyN(PUNICODE_STRING to, PCUNICODE_STRING from, size_t most) {
    return RtlUnicodeStringCbCopyN(to, from, most * sizeof(wchar_t));
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCbCopyStringN(PUNICODE_STRING to, NTSTRSAFE_PCWSTR from, size_t most) {
    size_t length = 0;
    while (length < most / sizeof(wchar_t) && from[length]) length++;
    return winvm_unicode_append(to, 0, from, length * sizeof(wchar_t));
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCchCopyStringN(PUNICODE_STRING to, NTSTRSAFE_PCWSTR from, size_t most) {
    return RtlUnicodeStringCbCopyStringN(to, from, most * sizeof(wchar_t));
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCat(PUNICODE_STRING to, PCUNICODE_STRING from) {
    return winvm_unicode_append(to, to->Length, from->Buffer, from->Length);
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCatString(PUNICODE_STRING to, NTSTRSAFE_PCWSTR from) {
    return winvm_unicode_append(to, to->Length, from, wcslen(from) * sizeof(wchar_t));
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringCbCatN(PUNICODE_STRING to, PCUNICODE_STRING from, size_t most) {
    return winvm_unicode_append(to, to->Length, from->Buffer, from->Length < most ? from->Length : most);
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringVPrintf(PUNICODE_STRING to, NTSTRSAFE_PCWSTR format, va_list list) {
    size_t room = to->MaximumLength / sizeof(wchar_t);
    NTSTATUS status = RtlUnicodeStringValidate(to);
    int n;
    if (!NT_SUCCESS(status)) return status;
    n = _vsnwprintf(to->Buffer, room, format, list);
    to->Length = (USHORT)((n < 0 || (size_t)n > room ? room : (size_t)n) * sizeof(wchar_t));
    return n < 0 || (size_t)n > room ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;
}

WINVM_STRSAFE NTSTATUS RtlUnicodeStringPrintf(PUNICODE_STRING to, NTSTRSAFE_PCWSTR format, ...) {
    va_list list;
    NTSTATUS status;
    va_start(list, format);
    status = RtlUnicodeStringVPrintf(to, format, list);
    va_end(list);
    return status;
}
