/* Included before every file of a driver: what cl and the WDK's headers give without being asked. */
#pragma once

#include "annotations.h"

#define _MSC_EXTENSIONS 1

/* mingw-w64 declares the kernel's variables as imports, and so hands out the object type where Windows' headers hand
   out the address of the pointer to it. wdm.h and ntddk.h of this folder declare them again, as Windows does. */

/* The overloads for arrays are those of winvm/array_strings.h. */
#define _CRT_SECURE_CPP_OVERLOAD_SECURE_NAMES 0
