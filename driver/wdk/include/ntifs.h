/* ntifs.h with what mingw-w64's lacks. */
#include_next <ntifs.h>
#include "winvm/ntddk_more.h"
#include "winvm/ntifs_more.h"
