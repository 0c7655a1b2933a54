/* ntstrsafe.h: counted copies, joins and prints of strings, for several files of one driver: every routine is static.
   mingw-w64's defines them once per file with external linkage, and has none for UNICODE_STRING.
   Behaviour: https://learn.microsoft.com/windows-hardware/drivers/kernel/summary-of-kernel-mode-safe-string-functions */
#pragma once
#define _NTSTRSAFE_H_INCLUDED_

#include <stdarg.h>
#include <string.h>

#define NTSTRSAFE_MAX_CCH 2147483647
#define NTSTRSAFE_UNICODE_STRING_MAX_CCH (0xffff / sizeof(wchar_t))
#define NTSTRSAFE_MAX_LENGTH (NTSTRSAFE_MAX_CCH - 1)
#define STRSAFE_MAX_CCH NTSTRSAFE_MAX_CCH

#define STRSAFE_FILL_BYTE_MASK 0x000000FF
#define STRSAFE_IGNORE_NULLS 0x00000100
#define STRSAFE_FILL_BEHIND_NULL 0x00000200
#define STRSAFE_FILL_ON_FAILURE 0x00000400
#define STRSAFE_NULL_ON_FAILURE 0x00000800
#define STRSAFE_NO_TRUNCATION 0x00001000
#define STRSAFE_FILL_BYTE(x) ((ULONG)(((x) & 0xFF) | STRSAFE_FILL_BEHIND_NULL))
#define STRSAFE_FAILURE_BYTE(x) ((ULONG)(((x) & 0xFF) | STRSAFE_FILL_ON_FAILURE))
#define STRSAFE_FILL_BEHIND STRSAFE_FILL_BEHIND_NULL
#define STRSAFE_ZERO_LENGTH_ON_FAILURE STRSAFE_NULL_ON_FAILURE

typedef char *NTSTRSAFE_PSTR;
typedef const char *NTSTRSAFE_PCSTR;
typedef wchar_t *NTSTRSAFE_PWSTR;
typedef const wchar_t *NTSTRSAFE_PCWSTR;

#ifdef __cplusplus
extern "C" {
#endif
__declspec(dllimport) int __cdecl _vsnprintf(char *, size_t, const char *, va_list);
__declspec(dllimport) int __cdecl _vsnwprintf(wchar_t *, size_t, const wchar_t *, va_list);
#ifdef __cplusplus
}
#endif

#define WINVM_STRSAFE static __inline __attribute__((unused))
#define WINVM_CCH(T, bytes) ((bytes) / sizeof(T))

/* For one character type T: A names the routines, PRINT is the C library's. The destination always ends in a null when
   it has room for one. */
#define WINVM_STRSAFE_FOR(A, T, PRINT)                                                                                     \
    WINVM_STRSAFE NTSTATUS RtlStringCchLength##A(const T *s, size_t limit, size_t *length) {                              \
        size_t n = 0;                                                                                                      \
        if (length) *length = 0;                                                                                           \
        if (!s || limit > NTSTRSAFE_MAX_CCH) return STATUS_INVALID_PARAMETER;                                              \
        while (n < limit && s[n]) n++;                                                                                     \
        if (n == limit) return STATUS_INVALID_PARAMETER;                                                                   \
        if (length) *length = n;                                                                                           \
        return STATUS_SUCCESS;                                                                                             \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS winvm_finish##A(T *to, size_t room, size_t used, NTSTATUS status, T **end, size_t *left,        \
                                           ULONG flags) {                                                                  \
        if (!NT_SUCCESS(status) && room) {                                                                                 \
            if (flags & STRSAFE_FILL_ON_FAILURE) {                                                                         \
                memset(to, (int)(flags & 0xFF), room * sizeof(T));                                                         \
                used = (flags & 0xFF) ? room - 1 : 0;                                                                      \
            } else if (flags & (STRSAFE_NULL_ON_FAILURE | STRSAFE_NO_TRUNCATION)) {                                        \
                used = 0;                                                                                                  \
            }                                                                                                              \
            to[used] = 0;                                                                                                  \
        } else if (NT_SUCCESS(status) && (flags & STRSAFE_FILL_BEHIND_NULL) && room > used + 1) {                          \
            memset(to + used + 1, (int)(flags & 0xFF), (room - used - 1) * sizeof(T));                                     \
        }                                                                                                                  \
        if (end) *end = to ? to + used : to;                                                                               \
        if (left) *left = room > used ? room - used : 0;                                                                   \
        return status;                                                                                                     \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS winvm_append##A(T *to, size_t room, size_t used, const T *from, size_t most, T **end,           \
                                           size_t *left, ULONG flags) {                                                    \
        if (room > NTSTRSAFE_MAX_CCH || !room || !to) return STATUS_INVALID_PARAMETER;                                     \
        if (!from && !(flags & STRSAFE_IGNORE_NULLS)) return STATUS_INVALID_PARAMETER;                                     \
        while (from && most && *from && used + 1 < room) {                                                                 \
            to[used++] = *from++;                                                                                          \
            most--;                                                                                                        \
        }                                                                                                                  \
        to[used] = 0;                                                                                                      \
        return winvm_finish##A(to, room, used, from && most && *from ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS, end,       \
                               left, flags);                                                                               \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS winvm_join##A(T *to, size_t room, const T *from, size_t most, T **end, size_t *left,            \
                                         ULONG flags) {                                                                    \
        size_t used;                                                                                                       \
        NTSTATUS status = RtlStringCchLength##A(to, room, &used);                                                          \
        return NT_SUCCESS(status) ? winvm_append##A(to, room, used, from, most, end, left, flags) : status;                \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS winvm_print##A(T *to, size_t room, T **end, size_t *left, ULONG flags, const T *format,         \
                                          va_list list) {                                                                  \
        int n;                                                                                                             \
        if (room > NTSTRSAFE_MAX_CCH || !room || !to || !format) return STATUS_INVALID_PARAMETER;                          \
        n = PRINT(to, room - 1, format, list);                                                                             \
        if (n < 0 || (size_t)n > room - 1) {                                                                               \
            to[room - 1] = 0;                                                                                              \
            return winvm_finish##A(to, room, room - 1, STATUS_BUFFER_OVERFLOW, end, left, flags);                          \
        }                                                                                                                  \
        to[n] = 0;                                                                                                         \
        return winvm_finish##A(to, room, (size_t)n, STATUS_SUCCESS, end, left, flags);                                     \
    }

/* The public routines for one type and one unit of lengths: Cch counts characters, Cb bytes. */
#define WINVM_STRSAFE_IN(U, A, T, COUNT, SIZE)                                                                             \
    WINVM_STRSAFE NTSTATUS RtlString##U##Copy##A(T *to, size_t room, const T *from) {                                     \
        return winvm_append##A(to, COUNT(room), 0, from, (size_t)-1, NULL, NULL, 0);                                       \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##CopyN##A(T *to, size_t room, const T *from, size_t most) {                       \
        return winvm_append##A(to, COUNT(room), 0, from, COUNT(most), NULL, NULL, 0);                                      \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##CopyEx##A(T *to, size_t room, const T *from, T **end, size_t *left,              \
                                                   ULONG flags) {                                                          \
        NTSTATUS status = winvm_append##A(to, COUNT(room), 0, from, (size_t)-1, end, left, flags);                         \
        if (left) *left = SIZE(*left);                                                                                     \
        return status;                                                                                                     \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##CopyNEx##A(T *to, size_t room, const T *from, size_t most, T **end,              \
                                                    size_t *left, ULONG flags) {                                           \
        NTSTATUS status = winvm_append##A(to, COUNT(room), 0, from, COUNT(most), end, left, flags);                        \
        if (left) *left = SIZE(*left);                                                                                     \
        return status;                                                                                                     \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##Cat##A(T *to, size_t room, const T *from) {                                      \
        return winvm_join##A(to, COUNT(room), from, (size_t)-1, NULL, NULL, 0);                                            \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##CatN##A(T *to, size_t room, const T *from, size_t most) {                        \
        return winvm_join##A(to, COUNT(room), from, COUNT(most), NULL, NULL, 0);                                           \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##CatEx##A(T *to, size_t room, const T *from, T **end, size_t *left,               \
                                                  ULONG flags) {                                                           \
        NTSTATUS status = winvm_join##A(to, COUNT(room), from, (size_t)-1, end, left, flags);                              \
        if (left) *left = SIZE(*left);                                                                                     \
        return status;                                                                                                     \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##VPrintf##A(T *to, size_t room, const T *format, va_list list) {                  \
        return winvm_print##A(to, COUNT(room), NULL, NULL, 0, format, list);                                               \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##Printf##A(T *to, size_t room, const T *format, ...) {                            \
        va_list list;                                                                                                      \
        NTSTATUS status;                                                                                                   \
        va_start(list, format);                                                                                            \
        status = winvm_print##A(to, COUNT(room), NULL, NULL, 0, format, list);                                             \
        va_end(list);                                                                                                      \
        return status;                                                                                                     \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##VPrintfEx##A(T *to, size_t room, T **end, size_t *left, ULONG flags,             \
                                                      const T *format, va_list list) {                                     \
        NTSTATUS status = winvm_print##A(to, COUNT(room), end, left, flags, format, list);                                 \
        if (left) *left = SIZE(*left);                                                                                     \
        return status;                                                                                                     \
    }                                                                                                                      \
    WINVM_STRSAFE NTSTATUS RtlString##U##PrintfEx##A(T *to, size_t room, T **end, size_t *left, ULONG flags,              \
                                                     const T *format, ...) {                                               \
        va_list list;                                                                                                      \
        NTSTATUS status;                                                                                                   \
        va_start(list, format);                                                                                            \
        status = RtlString##U##VPrintfEx##A(to, room, end, left, flags, format, list);                                    \
        va_end(list);                                                                                                      \
        return status;                                                                                                     \
    }

#define WINVM_SAME(n) (n)
#define WINVM_WIDE_COUNT(n) ((n) == (size_t)-1 ? (n) : (n) / sizeof(wchar_t))
#define WINVM_WIDE_SIZE(n) ((n) * sizeof(wchar_t))

WINVM_STRSAFE_FOR(A, char, _vsnprintf)
WINVM_STRSAFE_FOR(W, wchar_t, _vsnwprintf)
WINVM_STRSAFE_IN(Cch, A, char, WINVM_SAME, WINVM_SAME)
WINVM_STRSAFE_IN(Cb, A, char, WINVM_SAME, WINVM_SAME)
WINVM_STRSAFE_IN(Cch, W, wchar_t, WINVM_SAME, WINVM_SAME)
WINVM_STRSAFE_IN(Cb, W, wchar_t, WINVM_WIDE_COUNT, WINVM_WIDE_SIZE)

WINVM_STRSAFE NTSTATUS RtlStringCbLengthA(const char *s, size_t limit, size_t *length) {
    return RtlStringCchLengthA(s, limit, length);
}

WINVM_STRSAFE NTSTATUS RtlStringCbLengthW(const wchar_t *s, size_t limit, size_t *length) {
    NTSTATUS status = RtlStringCchLengthW(s, limit / sizeof(wchar_t), length);
    if (length) *length *= sizeof(wchar_t);
    return status;
}

#include "winvm/unicode_strings.h"
