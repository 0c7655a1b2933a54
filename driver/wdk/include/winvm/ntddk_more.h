/* Routines, types and constants of Microsoft's ntddk.h that mingw-w64's lacks. */
#pragma once
