/* ntddk.h with what mingw-w64's lacks. */
#include_next <ntddk.h>
#include "winvm/ntddk_more.h"
