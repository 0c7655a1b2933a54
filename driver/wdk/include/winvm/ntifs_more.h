/* Routines, types and constants of Microsoft's ntifs.h that mingw-w64's lacks. */
#pragma once
