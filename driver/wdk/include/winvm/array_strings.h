/* The checked string routines for arrays, whose length the compiler knows. */
#pragma once

#include <stdarg.h>

extern "C" {
int __cdecl strcpy_s(char *, size_t, const char *);
int __cdecl strcat_s(char *, size_t, const char *);
int __cdecl strncpy_s(char *, size_t, const char *, size_t);
int __cdecl wcscpy_s(wchar_t *, size_t, const wchar_t *);
int __cdecl wcscat_s(wchar_t *, size_t, const wchar_t *);
int __cdecl wcsncpy_s(wchar_t *, size_t, const wchar_t *, size_t);
int __cdecl wcsncat_s(wchar_t *, size_t, const wchar_t *, size_t);
}

extern "C++" {
template <size_t N> inline int strcpy_s(char (&to)[N], const char *from) { return strcpy_s(to, N, from); }
template <size_t N> inline int strcat_s(char (&to)[N], const char *from) { return strcat_s(to, N, from); }
template <size_t N> inline int strncpy_s(char (&to)[N], const char *from, size_t most) {
    return strncpy_s(to, N, from, most);
}
template <size_t N> inline int wcscpy_s(wchar_t (&to)[N], const wchar_t *from) { return wcscpy_s(to, N, from); }
template <size_t N> inline int wcscat_s(wchar_t (&to)[N], const wchar_t *from) { return wcscat_s(to, N, from); }
template <size_t N> inline int wcsncpy_s(wchar_t (&to)[N], const wchar_t *from, size_t most) {
    return wcsncpy_s(to, N, from, most);
}
template <size_t N> inline int wcsncat_s(wchar_t (&to)[N], const wchar_t *from, size_t most) {
    return wcsncat_s(to, N, from, most);
}
}
