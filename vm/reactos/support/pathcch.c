/* Routines of api-ms-win-core-path-l1-1-0.dll that CPython imports, as Microsoft Learn documents them
 * (pathcch.h). */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "own.h"

#define LONGEST 0x8000                  /* PATHCCH_MAX_CCH */
#define ALLOW_LONG_PATHS 0x1            /* PATHCCH_ALLOW_LONG_PATHS */
#define TOO_LONG ((HRESULT)0x800700CE)  /* HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE) */
#define TOO_SMALL ((HRESULT)0x8007007A) /* HRESULT_FROM_WIN32(ERROR_INSUFFICIENT_BUFFER) */

static int is_letter(WCHAR letter) {
    return (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z');
}

static int has_drive(const WCHAR *path) {
    return is_letter(path[0]) && path[1] == ':';
}

/* Whether `path` begins with `prefix`, of lower-case ASCII; letters of either case match. */
static int begins(const WCHAR *path, const char *prefix) {
    for (; *prefix; path++, prefix++)
        if ((is_letter(*path) ? *path | 0x20 : *path) != (WCHAR)*prefix) return 0;
    return 1;
}

static size_t length_of(const WCHAR *text, size_t limit) {
    size_t length = 0;
    while (length < limit && text[length]) length++;
    return length;
}

static const WCHAR *component_end(const WCHAR *path) {
    while (*path && *path != '\\') path++;
    return path;
}

static const WCHAR *past_separator(const WCHAR *path) {
    return *path == '\\' ? path + 1 : path;
}

/* Past the server and the share, and the backslash after them. */
static const WCHAR *past_share(const WCHAR *path) {
    path = component_end(path);
    return *path ? past_separator(component_end(path + 1)) : path;
}

/* The end of the path's root; NULL if it is relative. */
static const WCHAR *root_end(const WCHAR *path) {
    if (begins(path, "\\\\?\\unc\\")) return past_share(path + 8);
    if (begins(path, "\\\\?\\volume{")) return past_separator(component_end(path + 4));
    if (begins(path, "\\\\?\\")) return has_drive(path + 4) ? past_separator(path + 6) : NULL;
    if (path[0] == '\\') return path[1] == '\\' ? past_share(path + 2) : path + 1;
    return has_drive(path) ? past_separator(path + 2) : NULL;
}

HRESULT WINAPI OWN(PathCchSkipRoot)(PCWSTR path, PCWSTR *end) {
    const WCHAR *found = path && *path && end ? root_end(path) : NULL;
    if (!found) return E_INVALIDARG;
    *end = found;
    return S_OK;
}

HRESULT WINAPI OWN(PathCchFindExtension)(PCWSTR path, size_t size, PCWSTR *extension) {
    if (!path || !extension || size == 0 || size > LONGEST) return E_INVALIDARG;
    size_t length = length_of(path, size);
    if (length == size) return E_INVALIDARG;
    *extension = path + length;
    for (size_t at = 0; at < length; at++) {
        if (path[at] == '.')
            *extension = path + at;
        else if (path[at] == '\\' || path[at] == ' ')
            *extension = path + length;
    }
    return S_OK;
}

/* Removes "." and "..", which never leave the root, in place; the path has room for one more letter. */
static void canonicalise(WCHAR *path) {
    WCHAR *root = (WCHAR *)root_end(path);
    if (!root) root = path;
    WCHAR *to = root;
    const WCHAR *from = root;
    while (*from) {
        const WCHAR *end = component_end(from);
        size_t length = (size_t)(end - from);
        if (length == 2 && from[0] == '.' && from[1] == '.') {
            if (to > root && to[-1] == '\\') to--;
            while (to > root && to[-1] != '\\') to--;
        } else if (length != 1 || from[0] != '.') {
            while (from < end) *to++ = *from++;
            if (*end) *to++ = '\\';
        }
        from = *end ? end + 1 : end;
    }
    /* What ends with "." or ".." names a folder; its backslash remains only if it is the root's. */
    if (to > root && to[-1] == '\\' && from > root && from[-1] == '.') to--;
    *to = 0;
    if (!path[0]) {
        path[0] = '\\';
        path[1] = 0;
    } else if (has_drive(path) && !path[2]) {
        path[2] = '\\';
        path[3] = 0;
    }
}

static size_t append(WCHAR *to, size_t at, const WCHAR *text, size_t length) {
    for (size_t done = 0; done < length; done++) to[at++] = text[done];
    to[at] = 0;
    return at;
}

/* `more` after `path`; both have fewer than LONGEST letters. */
static void join(WCHAR *joined, const WCHAR *path, const WCHAR *more) {
    size_t length = length_of(path, LONGEST), added = length_of(more, LONGEST);
    int rooted = more[0] == '\\' && more[1] != '\\';
    if (!added) {
        append(joined, 0, path, length);
    } else if (!length || has_drive(more) || (more[0] == '\\' && !rooted)) {
        append(joined, 0, more, added);
    } else {
        const WCHAR *root = root_end(path);
        size_t at = append(joined, 0, path, !rooted ? length : root ? (size_t)(root - path) : 0);
        if (at && joined[at - 1] == '\\') at--;
        joined[at++] = '\\';
        append(joined, at, more + rooted, added - (size_t)rooted);
    }
}

/* `target` may be `path`. */
HRESULT WINAPI OWN(PathCchCombineEx)(PWSTR target, size_t size, PCWSTR path, PCWSTR more, ULONG flags) {
    static const WCHAR empty[1];
    HRESULT result = S_OK;
    if (!target || size == 0 || size > LONGEST || (!path && !more)) return E_INVALIDARG;
    path = path ? path : empty;
    more = more ? more : empty;
    size_t length = length_of(path, LONGEST) + length_of(more, LONGEST);
    if (length >= LONGEST || (length >= 2 * MAX_PATH && !(flags & ALLOW_LONG_PATHS))) {
        target[0] = 0;
        return TOO_LONG;
    }
    WCHAR *joined = HeapAlloc(GetProcessHeap(), 0, (length + 8) * sizeof(WCHAR));
    if (!joined) return E_OUTOFMEMORY;
    join(joined, path, more);
    canonicalise(joined);
    length = length_of(joined, LONGEST);
    if (length >= MAX_PATH && !(flags & ALLOW_LONG_PATHS))
        result = TOO_LONG;
    else if (length >= size)
        result = TOO_SMALL;
    if (result == S_OK)
        append(target, 0, joined, length);
    else
        target[0] = 0;
    HeapFree(GetProcessHeap(), 0, joined);
    return result;
}
